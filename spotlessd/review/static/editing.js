// The edits of one frame that are not applied yet: repairs taken back, strokes and boxes; undo and redo; kept for this
// tab until they are applied. Coordinates are frame px, as the station reads them.

const NONE = Object.freeze({ takeBack: Object.freeze([]), strokes: Object.freeze([]), boxes: Object.freeze([]) });
const MOST_UNDO = 500;

export class Editing {
  constructor(id, onChange) {
    this.onChange = onChange;
    this.open(id);
  }

  open(id, defects = Infinity) {
    this.key = `edits-${id}`;
    this.past = [];
    this.future = [];
    this.now = read(this.key, defects) ?? NONE;
    this.#index();
  }

  get isEmpty() {
    return this.now.takeBack.length + this.now.strokes.length + this.now.boxes.length === 0;
  }

  // Whether some of the repair is to go, so that the scan has to be drawn there.
  get isReturning() {
    return this.takeBack.size > 0 || [...this.strokes, ...this.boxes].some((shape) => shape.mode === "remove");
  }

  get numbers() {
    const count = (mode) => [...this.strokes, ...this.boxes].filter((shape) => shape.mode === mode).length;
    return { takenBack: this.takeBack.size, added: count("add"), erased: count("remove") };
  }

  toggle(index) {
    const { takeBack } = this.now;
    const isTaken = takeBack.includes(index);
    this.#set({ ...this.now, takeBack: isTaken ? takeBack.filter((one) => one !== index) : [...takeBack, index] });
    return !isTaken;
  }

  addStroke(stroke) {
    this.#set({ ...this.now, strokes: [...this.now.strokes, stroke] });
  }

  addBox(box) {
    this.#set({ ...this.now, boxes: [...this.now.boxes, box] });
  }

  undo() {
    if (this.past.length === 0) return false;
    this.future.push(this.now);
    this.#show(this.past.pop());
    return true;
  }

  redo() {
    if (this.future.length === 0) return false;
    this.past.push(this.now);
    this.#show(this.future.pop());
    return true;
  }

  discard() {
    if (!this.isEmpty) this.#set(NONE);
  }

  // Applied: nothing is left to do or to undo.
  forget() {
    this.past = [];
    this.future = [];
    this.#show(NONE);
  }

  toJson() {
    const { takeBack, strokes, boxes } = this.now;
    return { choice: "edited", take_back: [...takeBack].sort((one, other) => one - other), strokes, boxes };
  }

  #set(next) {
    this.past.push(this.now);
    if (this.past.length > MOST_UNDO) this.past.shift();
    this.future = [];
    this.#show(next);
  }

  #show(next) {
    this.now = next;
    this.#index();
    try {
      if (this.isEmpty) sessionStorage.removeItem(this.key);
      else sessionStorage.setItem(this.key, JSON.stringify(next));
    } catch {
      // A full or forbidden store: the edits live as long as the page.
    }
    this.onChange();
  }

  #index() {
    this.takeBack = new Set(this.now.takeBack);
    this.strokes = this.now.strokes;
    this.boxes = this.now.boxes;
  }
}

function read(key, defects) {
  try {
    const value = JSON.parse(sessionStorage.getItem(key));
    if (!value || value.takeBack.some((index) => index >= defects)) return null;
    return { takeBack: value.takeBack, strokes: value.strokes, boxes: value.boxes };
  } catch {
    return null;
  }
}
