// Asks the station. Every change carries the page's token; every failure becomes one sentence for the person.

export class ApiError extends Error {}

const token = () => document.querySelector('meta[name="csrf-token"]').content;

export async function getJson(address, signal) {
  return answerOf(await reach(address, { signal, headers: { accept: "application/json" } }));
}

export async function postJson(address, value) {
  const headers = { "content-type": "application/json", "x-csrf-token": token() };
  return answerOf(await reach(address, { method: "POST", headers, body: JSON.stringify(value ?? {}) }));
}

async function reach(address, options) {
  try {
    return await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The station does not answer. Is spotlessd still running?");
  }
}

async function answerOf(response) {
  let value = null;
  try {
    value = await response.json();
  } catch {
    throw new ApiError(`The station answered ${response.status} without a sentence; its log may say more.`);
  }
  if (!response.ok) throw new ApiError(sentence(value.error ?? `The station answered ${response.status}.`));
  return value;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
