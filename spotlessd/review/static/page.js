// What both views share: elements by hand, the help dialog, what is said aloud, and whether the station is reached.

import { icon } from "./icons.js";
import { stateOf } from "./words.js";

export const byId = (id) => document.getElementById(id);

// Make an element. Text is always text: nothing from a scan's name or a receipt is ever read as HTML.
export function make(name, { className, text, ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export function stateBadge(state) {
  const { word, icon: shape } = stateOf(state);
  return make("span", { className: `state state-${shape}` }, icon(shape), make("span", { text: word }));
}

export function say(text) {
  byId("said").textContent = text;
}

// A sentence that stays until it is closed or replaced. `kind`: "error" or "note".
export function tell(text, kind = "note") {
  const box = byId("told");
  box.hidden = !text;
  box.dataset.kind = kind;
  byId("told-text").textContent = text;
}

export function showConnection(isOpen) {
  byId("connection").hidden = isOpen;
}

export function isTyping(event) {
  const { target } = event;
  return target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName) || isTextInput(target);
}

function isTextInput(target) {
  return target.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(target.type);
}

export function isDialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}

export function toggleHelp() {
  const dialog = byId("help");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

export const prefersStillness = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function setUpPage() {
  byId("help-open").addEventListener("click", toggleHelp);
  byId("help-close").addEventListener("click", toggleHelp);
  byId("told-close").addEventListener("click", () => tell(""));
}
