// Mouse, pen and fingers on the stage: pan, zoom, draw, point. One finger draws where a drawing tool is chosen, else it
// pans; two fingers zoom. Speaks frame coordinates to `stage`, never touches the edits itself.

const CLICK_PX = 5;
const SPLIT_REACH_PX = 24;
const WHEEL_SPEED = 0.0016;

export class Gestures {
  // `stage`: {canvas, view, tool() → "pan" | "brush" | "box", mode() → "add" | "remove", radius(),
  // split() → null | 0 to 1, setSplit, setDrawing, finish(shape), click(x, y), hover(x, y),
  // cursor(place | null), moved()}.
  constructor(stage) {
    this.stage = stage;
    this.pointers = new Map();
    this.action = null;
    const { canvas } = stage;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event, true));
    canvas.addEventListener("pointercancel", (event) => this.#up(event, false));
    canvas.addEventListener("pointerleave", () => stage.cursor(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  // End what is being drawn without drawing it.
  cancel() {
    this.action = null;
    this.stage.setDrawing(null);
  }

  #at(event) {
    const box = this.stage.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
  }

  #down(event) {
    if (event.button > 1) return;
    const { canvas, view } = this.stage;
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // The pointer went away already.
    }
    const [x, y] = this.#at(event);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.pointers.size === 2) {
      this.cancel();
      this.action = { name: "pinch", ...this.#pinch() };
      return;
    }
    if (this.pointers.size > 2) return;
    const split = this.stage.split();
    const tool = this.stage.tool();
    const isOnSplit = split !== null && Math.abs(split * canvas.width - x) < SPLIT_REACH_PX * devicePixelRatio;
    if (event.button === 1) this.action = { name: "pan", from: [x, y], last: [x, y], isClick: false };
    else if (isOnSplit && tool === "pan") this.action = { name: "split" };
    else if (tool === "pan") this.action = { name: "pan", from: [x, y], last: [x, y], isClick: true };
    else {
      const start = view.toFrame(x, y);
      this.action = { name: tool, start };
      const { mode, radius } = this.stage;
      this.shape = tool === "brush" ? { mode: mode(), radius: radius(), points: [tenths(start)] } : null;
      this.stage.setDrawing(this.shape);
    }
    event.preventDefault();
    canvas.focus({ preventScroll: true });
  }

  #move(event) {
    const { view } = this.stage;
    const [x, y] = this.#at(event);
    if (event.pointerType !== "touch") this.stage.cursor([x, y]);
    if (!this.pointers.has(event.pointerId)) {
      this.stage.hover(...view.toFrame(x, y));
      return;
    }
    this.pointers.set(event.pointerId, [x, y]);
    const { action } = this;
    if (action === null) return;
    if (action.name === "pinch") this.#zoomByPinch(action);
    else if (action.name === "split") this.stage.setSplit(x / this.stage.canvas.width);
    else if (action.name === "pan") this.#pan(action, x, y);
    else if (action.name === "brush") this.#extend(event);
    else this.stage.setDrawing((this.shape = this.#box(action.start, view.toFrame(x, y))));
  }

  #up(event, isWhole) {
    const { action } = this;
    this.pointers.delete(event.pointerId);
    if (action === null || (action.name === "pinch" && this.pointers.size > 0)) return;
    this.action = null;
    if (action.name === "pan" && action.isClick && isWhole)
      this.stage.click(...this.stage.view.toFrame(...action.from));
    if (action.name === "brush" || action.name === "box") {
      this.stage.setDrawing(null);
      if (isWhole && this.shape) this.stage.finish(this.shape);
    }
  }

  #pan(action, x, y) {
    if (action.isClick && Math.hypot(x - action.from[0], y - action.from[1]) < CLICK_PX * devicePixelRatio) return;
    action.isClick = false;
    this.stage.view.pan(x - action.last[0], y - action.last[1]);
    action.last = [x, y];
    this.stage.moved();
  }

  // Points closer together than a quarter of the brush say nothing new.
  #extend(event) {
    const { points, radius } = this.shape;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const point = tenths(this.stage.view.toFrame(...this.#at(one)));
      const last = points.at(-1);
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= Math.max(radius / 4, 0.5)) points.push(point);
    }
    this.stage.setDrawing(this.shape);
  }

  #box([startX, startY], [x, y]) {
    const { width, height } = this.stage.view;
    const across = [startX, x].map((one) => Math.min(Math.max(one, 0), width)).sort((one, other) => one - other);
    const down = [startY, y].map((one) => Math.min(Math.max(one, 0), height)).sort((one, other) => one - other);
    const box = [Math.floor(down[0]), Math.floor(across[0]), Math.ceil(down[1]), Math.ceil(across[1])];
    return box[0] < box[2] && box[1] < box[3] ? { mode: this.stage.mode(), box } : null;
  }

  #pinch() {
    const [[x0, y0], [x1, y1]] = [...this.pointers.values()];
    return { distance: Math.max(1, Math.hypot(x1 - x0, y1 - y0)), middle: [(x0 + x1) / 2, (y0 + y1) / 2] };
  }

  #zoomByPinch(action) {
    if (this.pointers.size < 2) return;
    const { view } = this.stage;
    const { distance, middle } = this.#pinch();
    view.pan(middle[0] - action.middle[0], middle[1] - action.middle[1]);
    view.zoomTo((view.scale * distance) / action.distance, ...middle);
    Object.assign(action, { distance, middle });
    this.stage.moved();
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
    const speed = event.ctrlKey ? 5 * WHEEL_SPEED : WHEEL_SPEED;
    const [x, y] = this.#at(event);
    const step = Math.min(Math.max(event.deltaY * lines, -300), 300);
    this.stage.view.zoomTo(this.stage.view.scale * Math.exp(-step * speed), x, y);
    this.stage.moved();
  }
}

const tenths = (point) => point.map((one) => Math.round(10 * one) / 10);
