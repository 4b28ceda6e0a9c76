// The keys of the frame view: which key means what. What it does is the frame view's.

import { isDialogOpen, isTyping, toggleHelp } from "./page.js";

const PAN_PX = 80;

// `act`: {mode, mask, zoom, fit, actual, pan, step, toggle, tool, erase, size, undo, redo, apply, leave, go, hold,
// isListFocused()}.
export function setUpKeys(act) {
  const plain = {
    1: () => act.mode("before"),
    2: () => act.mode("after"),
    3: () => act.mode("compare"),
    m: () => act.mask(),
    "+": () => act.zoom(1.5),
    "=": () => act.zoom(1.5),
    "-": () => act.zoom(1 / 1.5),
    f: () => act.fit(),
    z: () => act.actual(),
    j: () => act.step(1),
    k: () => act.step(-1),
    x: () => act.toggle(),
    Backspace: () => act.toggle(),
    Delete: () => act.toggle(),
    b: () => act.tool("brush"),
    r: () => act.tool("box"),
    v: () => act.tool("pan"),
    e: () => act.erase(),
    "[": () => act.size(1 / 1.25),
    "]": () => act.size(1.25),
    "?": toggleHelp,
    Escape: () => act.leave(),
    PageUp: () => act.go("prev"),
    PageDown: () => act.go("next"),
    ArrowLeft: () => act.pan(PAN_PX, 0),
    ArrowRight: () => act.pan(-PAN_PX, 0),
    ArrowUp: () => (act.isListFocused() ? act.step(-1) : act.pan(0, PAN_PX)),
    ArrowDown: () => (act.isListFocused() ? act.step(1) : act.pan(0, -PAN_PX)),
  };
  const withControl = {
    z: () => act.undo(),
    Z: () => act.redo(),
    y: () => act.redo(),
    Enter: () => act.apply(),
  };

  addEventListener("keydown", (event) => {
    if (event.altKey || isDialogOpen() || isTyping(event)) return;
    if (event.ctrlKey || event.metaKey) {
      run(event, withControl[event.shiftKey && event.key === "z" ? "Z" : event.key]);
      return;
    }
    if (event.key === " ") {
      if (isOwnSpace(event.target)) return;
      event.preventDefault();
      if (!event.repeat) act.hold(true);
      return;
    }
    const isSlider = event.target.type === "range" && (event.key.startsWith("Arrow") || event.key.startsWith("Page"));
    if (!isSlider) run(event, plain[event.key]);
  });
  addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    if (!isOwnSpace(event.target)) event.preventDefault();
    act.hold(false);
  });
  addEventListener("blur", () => act.hold(false));
}

function run(event, action) {
  if (!action) return;
  event.preventDefault();
  action();
}

// Space presses buttons as everywhere; on a row of the list, where Enter does the same, it compares.
function isOwnSpace(target) {
  return target.closest("button, summary, a, input, select") !== null && !target.classList.contains("go");
}
