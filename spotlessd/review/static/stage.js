// The stage: one frame's picture with its view, gestures and painter. What it shows is in its fields; `paint` shows it.

import { Gestures } from "./gestures.js";
import { prefersStillness } from "./page.js";
import { Painter } from "./painter.js";
import { Tiles } from "./tiles.js";
import { View } from "./view.js";

const MOVE_MS = 220;
const CLICK_REACH_PX = 12;
export const LEAST_RADIUS = 2;
export const MOST_RADIUS = 400;

export class Stage {
  // `on`: {shape(shape), pick(index | null), moved(), trouble(sentence)}.
  constructor(canvas, editing, on) {
    this.canvas = canvas;
    this.editing = editing;
    this.on = on;
    this.view = new View();
    this.painter = new Painter(canvas, this.view);
    this.frame = null;
    this.tiles = null;
    this.mode = "after";
    this.isHeldBefore = false;
    this.isMaskShown = false;
    this.tool = "pan";
    this.drawMode = "add";
    this.radius = 12;
    this.splitAt = 0.5;
    this.selected = this.hovered = null;
    this.drawing = this.cursorAt = null;
    this.isAsked = false;
    this.gestures = new Gestures(this.#forGestures());
    new ResizeObserver(() => this.#resize()).observe(canvas.parentElement);
    this.#resize();
  }

  // Show another frame, or another version of it: then the view stays where it is.
  setFrame(frame, { isKept }) {
    this.tiles?.close();
    this.gestures.cancel();
    this.frame = frame;
    this.selected = this.hovered = null;
    this.tiles = frame.tiles && frame.layers.length ? new Tiles(frame, () => this.paint(), this.on.trouble) : null;
    const hasSameSize = this.view.width === frame.width && this.view.height === frame.height;
    this.view.setFrame(frame.width ?? 1, frame.height ?? 1);
    if (!(isKept && hasSameSize)) this.view.fit();
    this.moved();
  }

  paint() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      if (this.frame === null) return;
      const { frame, tiles, isMaskShown, splitAt: split, editing: edits, drawing, selected, hovered } = this;
      const mode = this.isHeldBefore ? "before" : this.mode;
      this.painter.draw({
        frame,
        tiles,
        mode,
        isMaskShown,
        split,
        edits,
        drawing,
        selected,
        hovered,
        cursor: this.#cursor(),
      });
    });
  }

  moved() {
    this.paint();
    this.on.moved();
  }

  zoom(factor) {
    this.view.zoomTo(this.view.scale * factor);
    this.moved();
  }

  zoomTo(scale) {
    this.view.zoomTo(scale);
    this.moved();
  }

  fit() {
    this.view.fit();
    this.moved();
  }

  pan(dx, dy) {
    this.view.pan(dx * devicePixelRatio, dy * devicePixelRatio);
    this.moved();
  }

  select(index, { isShown }) {
    this.selected = index;
    if (isShown && index !== null) this.#travel(this.view.toShow(this.frame.defects[index].box));
    else this.moved();
  }

  // The defect at a point of the frame: the smallest whose box is near enough, or null.
  defectAt(x, y) {
    const reach = (CLICK_REACH_PX * devicePixelRatio) / this.view.scale;
    let best = null;
    for (const {
      index,
      box: [top, left, bottom, right],
    } of this.frame.defects) {
      const isNear = x >= left - reach && x <= right + reach && y >= top - reach && y <= bottom + reach;
      const distance =
        Math.hypot(x - (left + right) / 2, y - (top + bottom) / 2) + 0.01 * (right - left + bottom - top);
      if (isNear && (best === null || distance < best.distance)) best = { index, distance };
    }
    return best?.index ?? null;
  }

  #travel(to) {
    const from = this.view.place;
    const began = performance.now();
    this.travel = began;
    const isStill = prefersStillness();
    const step = (now) => {
      if (this.travel !== began) return;
      const part = isStill ? 1 : Math.min(1, Math.max(0, (now - began) / MOVE_MS));
      const eased = 1 - (1 - part) ** 3;
      const between = (one, other) => one + (other - one) * eased;
      this.view.moveTo({
        scale: Math.exp(between(Math.log(from.scale), Math.log(to.scale))),
        x: between(from.x, to.x),
        y: between(from.y, to.y),
      });
      this.moved();
      if (part < 1) requestAnimationFrame(step);
    };
    step(began);
  }

  #cursor() {
    if (this.tool !== "brush" || this.cursorAt === null) return null;
    return { x: this.cursorAt[0], y: this.cursorAt[1], radius: this.radius };
  }

  #resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(box.width * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(box.height * devicePixelRatio));
    this.view.setStage(this.canvas.width, this.canvas.height);
    if (this.frame !== null) this.moved();
  }

  #forGestures() {
    return {
      canvas: this.canvas,
      view: this.view,
      tool: () => this.tool,
      mode: () => this.drawMode,
      radius: () => this.radius,
      split: () => (this.mode === "compare" ? this.splitAt : null),
      setSplit: (split) => {
        this.splitAt = Math.min(1, Math.max(0, split));
        this.moved();
      },
      setDrawing: (shape) => {
        this.drawing = shape;
        this.paint();
      },
      finish: (shape) => this.on.shape(shape),
      click: (x, y) => this.frame !== null && this.on.pick(this.defectAt(x, y)),
      hover: (x, y) => this.#hover(x, y),
      cursor: (at) => {
        this.cursorAt = at;
        if (this.tool === "brush") this.paint();
      },
      moved: () => {
        this.travel = null;
        this.moved();
      },
    };
  }

  #hover(x, y) {
    if (this.frame === null) return;
    const found = this.tool === "pan" ? this.defectAt(x, y) : null;
    this.canvas.style.cursor =
      this.tool === "brush" ? "none" : this.tool === "box" ? "crosshair" : found === null ? "grab" : "pointer";
    if (found === this.hovered) return;
    this.hovered = found;
    this.paint();
  }
}
