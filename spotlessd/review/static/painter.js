// Draws the stage: the picture before, after or both, the mask, what the edits would change, and the chosen defect.
// What is taken back is shown from the layer before, which there is the scan itself; what is added is only marked.

const ADDED_COLOUR = "rgb(0 190 220)";

export class Painter {
  constructor(canvas, view) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.view = view;
    this.returned = new OffscreenCanvas(1, 1).getContext("2d");
    this.added = new OffscreenCanvas(1, 1).getContext("2d");
  }

  // `scene`: {tiles, frame, mode, isMaskShown, split (0 to 1), edits, drawing, selected, hovered, cursor}.
  draw(scene) {
    const { context, view, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!scene.tiles) return;
    const seen = this.#seen(scene.frame);
    const { tiles } = scene;
    const level = tiles.levelFor(view.scale);
    const hasAfter = scene.frame.layers.includes("after");
    tiles.begin();
    context.imageSmoothingEnabled = view.scale < 1.5;
    context.imageSmoothingQuality = "medium";
    this.#drawEditAreas(scene);

    const isCompared = scene.mode === "compare" && hasAfter;
    if (scene.mode !== "before" && hasAfter) {
      tiles.draw(context, view, "after", level, seen);
      if (scene.edits.isReturning) this.#drawReturned(tiles, level, seen);
    }
    if (scene.mode === "before" || !hasAfter) tiles.draw(context, view, "before", level, seen);
    if (isCompared)
      this.#clipped(0, scene.split * canvas.width, () => tiles.draw(context, view, "before", level, seen));
    if (scene.isMaskShown && scene.frame.layers.includes("mask")) this.#drawMask(tiles, level, seen);
    this.#drawAdded(scene);
    if (isCompared) this.#drawSplit(scene.split);
    this.#drawBoxes(scene);
    if (scene.cursor) this.#drawCursor(scene.cursor);
    tiles.end();
  }

  #seen({ width, height }) {
    const [left, top] = this.view.toFrame(0, 0);
    const [right, bottom] = this.view.toFrame(this.canvas.width, this.canvas.height);
    return [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
  }

  #clipped(left, right, draw) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(left, 0, right - left, this.canvas.height);
    this.context.clip();
    draw();
    this.context.restore();
  }

  // Fill `returned` and `added` with the areas of the edits, in the order the station applies them.
  #drawEditAreas({ frame, edits, drawing }) {
    for (const context of [this.returned, this.added]) {
      if (context.canvas.width !== this.canvas.width || context.canvas.height !== this.canvas.height) {
        context.canvas.width = this.canvas.width;
        context.canvas.height = this.canvas.height;
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.globalCompositeOperation = "source-over";
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      const { scale, x, y } = this.view;
      context.setTransform(scale, 0, 0, scale, x, y);
      context.lineCap = context.lineJoin = "round";
      context.fillStyle = context.strokeStyle = ADDED_COLOUR;
    }
    for (const index of edits.takeBack) {
      const [top, left, bottom, right] = frame.defects[index].box;
      this.returned.fillRect(left, top, right - left, bottom - top);
    }
    const shapes = [...edits.strokes, ...edits.boxes];
    if (drawing) shapes.push(drawing);
    for (const shape of shapes) {
      const isAdded = shape.mode === "add";
      this.added.globalCompositeOperation = isAdded ? "source-over" : "destination-out";
      this.returned.globalCompositeOperation = isAdded ? "destination-out" : "source-over";
      for (const context of [this.added, this.returned]) drawShape(context, shape);
    }
  }

  #drawReturned(tiles, level, seen) {
    const { returned } = this;
    returned.setTransform(1, 0, 0, 1, 0, 0);
    returned.imageSmoothingEnabled = this.context.imageSmoothingEnabled;
    // The shapes' area is painted over by the scan; drawn by itself so that the tiles' seams stay hidden.
    const picture = (this.scan ??= new OffscreenCanvas(1, 1).getContext("2d"));
    picture.canvas.width = this.canvas.width;
    picture.canvas.height = this.canvas.height;
    picture.imageSmoothingEnabled = this.context.imageSmoothingEnabled;
    tiles.draw(picture, this.view, "before", level, seen);
    picture.globalCompositeOperation = "destination-in";
    picture.drawImage(returned.canvas, 0, 0);
    picture.globalCompositeOperation = "source-over";
    this.context.drawImage(picture.canvas, 0, 0);
  }

  #drawMask(tiles, level, seen) {
    const layer = (this.mask ??= new OffscreenCanvas(1, 1).getContext("2d"));
    layer.canvas.width = this.canvas.width;
    layer.canvas.height = this.canvas.height;
    layer.imageSmoothingEnabled = this.context.imageSmoothingEnabled;
    tiles.draw(layer, this.view, "mask", level, seen);
    layer.globalCompositeOperation = "destination-out";
    layer.drawImage(this.returned.canvas, 0, 0);
    layer.globalCompositeOperation = "source-over";
    this.context.globalAlpha = 0.62;
    this.context.drawImage(layer.canvas, 0, 0);
    this.context.globalAlpha = 1;
  }

  #drawAdded({ edits, drawing }) {
    if (!drawing && edits.strokes.length + edits.boxes.length === 0) return;
    this.context.globalAlpha = 0.6;
    this.context.drawImage(this.added.canvas, 0, 0);
    this.context.globalAlpha = 1;
    // The box under the pointer has an outline, so that erasing shows where nothing is masked too.
    if (drawing?.box) this.#frameBox(drawing.box, 0, true);
  }

  #drawSplit(split) {
    const x = Math.round(split * this.canvas.width);
    this.context.fillStyle = "rgb(0 0 0 / 60%)";
    this.context.fillRect(x - 2, 0, 4, this.canvas.height);
    this.context.fillStyle = "#fff";
    this.context.fillRect(x - 1, 0, 2, this.canvas.height);
  }

  #drawBoxes({ frame, edits, selected, hovered }) {
    for (const index of edits.takeBack) this.#frameBox(frame.defects[index].box, 5, true);
    if (hovered !== null && hovered !== selected)
      this.#frameBox(frame.defects[hovered].box, 6, edits.takeBack.has(hovered), 0.9);
    if (selected !== null) this.#corners(frame.defects[selected].box);
  }

  #stageBox([top, left, bottom, right], margin) {
    const ratio = devicePixelRatio;
    const [x0, y0] = this.view.toStage(left, top);
    const [x1, y1] = this.view.toStage(right, bottom);
    return [x0 - margin * ratio, y0 - margin * ratio, x1 + margin * ratio, y1 + margin * ratio].map(Math.round);
  }

  #stroked(path, width = 1.5) {
    const { context } = this;
    context.lineWidth = (width + 2) * devicePixelRatio;
    context.strokeStyle = "rgb(0 0 0 / 55%)";
    context.stroke(path);
    context.lineWidth = width * devicePixelRatio;
    context.strokeStyle = "#fff";
    context.stroke(path);
  }

  // Dashed: what is taken back.
  #frameBox(box, margin, isDashed, alpha = 1) {
    const [x0, y0, x1, y1] = this.#stageBox(box, margin);
    if (x1 < 0 || y1 < 0 || x0 > this.canvas.width || y0 > this.canvas.height) return;
    const path = new Path2D();
    path.rect(x0, y0, x1 - x0, y1 - y0);
    this.context.globalAlpha = alpha;
    this.context.setLineDash(isDashed ? [5 * devicePixelRatio, 4 * devicePixelRatio] : []);
    this.#stroked(path, 1);
    this.context.setLineDash([]);
    this.context.globalAlpha = 1;
  }

  #corners(box) {
    const [x0, y0, x1, y1] = this.#stageBox(box, 10);
    const arm = Math.min(14 * devicePixelRatio, (x1 - x0) / 2, (y1 - y0) / 2);
    const path = new Path2D();
    for (const [x, y, dx, dy] of [
      [x0, y0, arm, arm],
      [x1, y0, -arm, arm],
      [x0, y1, arm, -arm],
      [x1, y1, -arm, -arm],
    ]) {
      path.moveTo(x + dx, y);
      path.lineTo(x, y);
      path.lineTo(x, y + dy);
    }
    this.#stroked(path, 2);
  }

  #drawCursor({ x, y, radius }) {
    const path = new Path2D();
    path.arc(x, y, Math.max(2, radius * this.view.scale), 0, 2 * Math.PI);
    this.#stroked(path, 1);
  }
}

function drawShape(context, shape) {
  if (shape.box) {
    const [top, left, bottom, right] = shape.box;
    context.fillRect(left, top, right - left, bottom - top);
    return;
  }
  const [first, ...rest] = shape.points;
  context.beginPath();
  context.lineWidth = 2 * shape.radius;
  context.moveTo(...first);
  // A single point is a round dot: a line of no length with round ends.
  for (const point of rest.length ? rest : [first]) context.lineTo(...point);
  context.stroke();
}
