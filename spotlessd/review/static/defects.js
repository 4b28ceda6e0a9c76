// The list of repairs, the most doubtful first: where it lies, what it is, how long, how sure; take back or return.

import { make } from "./page.js";
import { certainty, length, place } from "./words.js";

const MOST_LISTED = 1500;

export class DefectList {
  // `on`: {go(index), toggle(index)}.
  constructor(list, note, on) {
    this.list = list;
    this.note = note;
    this.on = on;
    this.rows = new Map();
    this.order = [];
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button === null) return;
      const index = Number(button.closest("li").dataset.index);
      if (button.classList.contains("toggle")) on.toggle(index);
      else on.go(index);
    });
  }

  setFrame(frame, canEdit) {
    this.order = [...frame.defects].sort((one, other) => one.score - other.score || one.index - other.index);
    this.rows = new Map();
    const rows = this.order.slice(0, MOST_LISTED).map((defect) => this.#row(defect, frame, canEdit));
    this.list.replaceChildren(...rows);
    this.note.hidden = this.order.length <= MOST_LISTED;
    const [listed, all] = [MOST_LISTED, this.order.length].map((number) => number.toLocaleString("en"));
    this.note.textContent = `The ${listed} most doubtful of ${all} are listed; the others are in the picture.`;
  }

  // The repair after (`step` 1) or before (-1) the chosen one in the list; null where there is none.
  next(selected, step) {
    const at = this.order.findIndex((defect) => defect.index === selected);
    const to = at < 0 ? 0 : at + step;
    return this.order[to]?.index ?? null;
  }

  show(selected, takenBack) {
    for (const [index, { row, go, toggle }] of this.rows) {
      const isTaken = takenBack.has(index);
      row.classList.toggle("taken", isTaken);
      if (index === selected) go.setAttribute("aria-current", "true");
      else go.removeAttribute("aria-current");
      if (toggle) {
        toggle.textContent = isTaken ? "Return" : "Take back";
        toggle.setAttribute("aria-pressed", String(isTaken));
      }
    }
  }

  // Bring the chosen one into sight; `hasFocus`: the keyboard goes with it.
  reveal(selected, hasFocus) {
    const found = this.rows.get(selected);
    if (!found) return;
    const box = found.row.getBoundingClientRect();
    const around = this.list.getBoundingClientRect();
    if (box.top < around.top) this.list.scrollTop -= around.top - box.top;
    else if (box.bottom > around.bottom) this.list.scrollTop += box.bottom - around.bottom;
    if (hasFocus) found.go.focus({ preventScroll: true });
  }

  get hasFocus() {
    return this.list.contains(document.activeElement);
  }

  #row(defect, frame, canEdit) {
    const where = place(defect.box, frame.width, frame.height);
    const [top, left, bottom, right] = defect.box;
    const dot = make("span", { className: "dot" });
    dot.style.left = `${(50 * (left + right)) / frame.width}%`;
    dot.style.top = `${(50 * (top + bottom)) / frame.height}%`;
    const locator = make("span", { className: "locator", "aria-hidden": "true" }, dot);
    locator.style.aspectRatio = `${frame.width} / ${frame.height}`;
    const size = [length(defect.length_um), where].filter(Boolean).join(", ");
    const kind = defect.kind === "given" ? "piece" : defect.kind;
    const words = make(
      "span",
      {},
      make("span", { className: "kind", text: [kind, certainty(defect)].filter(Boolean).join(", ") }),
      make("span", { className: "faint", text: size }),
    );
    const method = defect.method ? `, filled: ${defect.method}` : "";
    const title = `x ${left}, y ${top}, ${right - left} × ${bottom - top} px, score ${defect.score}${method}`;
    const go = make("button", { type: "button", className: "go", title }, locator, words);
    const row = make("li", { "data-index": String(defect.index) }, go);
    let toggle = null;
    if (canEdit) {
      toggle = make("button", { type: "button", className: "toggle", text: "Take back", "aria-pressed": "false" });
      toggle.setAttribute("aria-label", `Take back: ${defect.kind}, ${size}`);
      row.append(toggle);
    }
    this.rows.set(defect.index, { row, go, toggle });
    return row;
  }
}
