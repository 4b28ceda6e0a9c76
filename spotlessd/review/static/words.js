// States, sizes and counts in words. Pure functions; text only.

const STATES = {
  done: { word: "Done", icon: "done" },
  held: { word: "Held", icon: "held" },
  quarantined: { word: "Quarantined", icon: "quarantined" },
  queued: { word: "Waiting", icon: "waiting" },
  waiting: { word: "Waiting", icon: "waiting" },
  running: { word: "In work", icon: "running" },
  superseded: { word: "Replaced", icon: "gone" },
  gone: { word: "Gone", icon: "gone" },
};

export const stateOf = (state) => STATES[state] ?? { word: state, icon: "gone" };

export function plural(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : (many ?? `${one}s`)}`;
}

export function coverage(fraction) {
  if (fraction === null || fraction === undefined) return "";
  const percent = fraction * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "< 0.01 %";
  return `${percent.toFixed(percent < 1 ? 2 : 1)} %`;
}

export function length(um) {
  if (um === null || um === undefined) return "";
  return um >= 1000 ? `${(um / 1000).toFixed(1)} mm` : `${Math.round(um)} µm`;
}

export function certainty(defect) {
  if (defect.kind === "given") return "drawn by hand";
  const { score } = defect;
  if (score === null || score === undefined) return "";
  if (score < 0.6) return "doubtful";
  if (score < 0.8) return "unsure";
  return score < 0.93 ? "likely" : "sure";
}

export function place(box, width, height) {
  const [top, left, bottom, right] = box;
  const third = (at, whole, words) => words[Math.min(2, Math.floor((3 * at) / whole))];
  const row = third((top + bottom) / 2, height, ["top", "middle", "bottom"]);
  const column = third((left + right) / 2, width, ["left", "centre", "right"]);
  return row === "middle" && column === "centre" ? "centre" : `${row} ${column}`;
}

export function day(iso) {
  const at = new Date(`${iso}T12:00:00Z`);
  if (Number.isNaN(at.getTime())) return iso || "Earlier";
  const options = { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return at.toLocaleDateString("en-GB", options);
}

export function moment(at) {
  if (!at) return "";
  const date = typeof at === "number" ? new Date(at * 1000) : new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

export function station(values) {
  if (!values.running) return "stopped; decisions wait for its next start";
  if (values.paused) return `paused: ${values.paused}`;
  return values.job ? `working on job ${values.job}` : "running, nothing to do";
}

// What applying would do, in one sentence. `numbers`: of editing.js.
export function outcome(numbers, { isHeld, defects, isOriginalKept = false }) {
  const { takenBack, erased, added } = numbers;
  if (isOriginalKept) return "Publishes the scan as it is, without any repair.";
  const parts = [];
  if (takenBack) parts.push(`takes back ${takenBack}`);
  if (erased) parts.push(`erases in ${plural(erased, "place")}`);
  if (added) parts.push(`adds ${added}`);
  if (parts.length === 0) return isHeld ? "Draw or take back to make a mask of your own." : "Nothing is changed yet.";
  const rest = isHeld
    ? `of ${plural(defects, "proposed repair")}, the rest is repaired`
    : "everything else stays as it is";
  const text = `${parts.join(", ")}; ${rest}.`;
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function decision(facts) {
  const who = facts.by === "person" ? "A person" : "The program";
  const choices = {
    detected: "chose what to repair",
    edited: "edited the mask",
    proposed: "released it as proposed",
    original: "kept the original",
    again: "had it detected again",
  };
  const pixels = [
    [facts.taken_back_px, "taken back"],
    [facts.added_px, "added"],
  ]
    .filter(([number]) => number)
    .map(([number, word]) => `${number.toLocaleString("en")} px ${word}`);
  const detail = pixels.length ? ` (${pixels.join(", ")})` : "";
  const when = moment(facts.at);
  return `${who} ${choices[facts.choice] ?? facts.choice}${detail}${when ? `, ${when}` : ""}.`;
}
