// Where the frame lies on the stage. Frame coordinates are px of the frame as stored, x right, y down, from its top
// left corner; stage coordinates are px of the screen (device px). `scale`: screen px for one frame px.

const LARGEST = 16;
const MARGIN = 24;

export class View {
  constructor() {
    this.width = this.height = 1;
    this.stageWidth = this.stageHeight = 1;
    this.scale = 1;
    this.x = this.y = 0;
    this.isFitted = true;
  }

  setFrame(width, height) {
    this.width = width;
    this.height = height;
  }

  setStage(width, height) {
    const [x, y] = this.toFrame(this.stageWidth / 2, this.stageHeight / 2);
    this.stageWidth = width;
    this.stageHeight = height;
    if (this.isFitted) this.fit();
    else this.#centreOn(x, y);
  }

  get fitScale() {
    const across = (this.stageWidth - MARGIN) / this.width;
    const down = (this.stageHeight - MARGIN) / this.height;
    return Math.max(Math.min(across, down, LARGEST), 1e-4);
  }

  fit() {
    this.scale = this.fitScale;
    this.isFitted = true;
    this.#centreOn(this.width / 2, this.height / 2);
  }

  toFrame(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toStage(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  // Zoom so that the point (x, y) of the stage stays where it is.
  zoomTo(scale, x = this.stageWidth / 2, y = this.stageHeight / 2) {
    const [frameX, frameY] = this.toFrame(x, y);
    this.scale = Math.min(Math.max(scale, this.fitScale / 2, 1e-4), LARGEST);
    this.x = x - frameX * this.scale;
    this.y = y - frameY * this.scale;
    this.isFitted = false;
    this.#hold();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.isFitted = false;
    this.#hold();
  }

  // Where the view has to go to show a box [top, left, bottom, right] with some of what is round it.
  toShow([top, left, bottom, right]) {
    const side = Math.max(bottom - top, right - left, 12);
    const least = Math.min(this.stageWidth, this.stageHeight);
    const scale = Math.min(Math.max((0.25 * least) / side, this.fitScale), 3);
    return { scale: scale > 1 ? Math.floor(scale) : scale, x: (left + right) / 2, y: (top + bottom) / 2 };
  }

  moveTo({ scale, x, y }) {
    this.scale = scale;
    this.isFitted = false;
    this.#centreOn(x, y);
  }

  get place() {
    const [x, y] = this.toFrame(this.stageWidth / 2, this.stageHeight / 2);
    return { scale: this.scale, x, y };
  }

  #centreOn(x, y) {
    this.x = this.stageWidth / 2 - x * this.scale;
    this.y = this.stageHeight / 2 - y * this.scale;
    this.#hold();
  }

  // The frame cannot leave the stage: it is centred where it is smaller, else the stage's middle stays on it.
  #hold() {
    const hold = (at, size, stage) => {
      const length = size * this.scale;
      return length <= stage ? (stage - length) / 2 : Math.min(stage / 2, Math.max(stage / 2 - length, at));
    };
    this.x = hold(this.x, this.width, this.stageWidth);
    this.y = hold(this.y, this.height, this.stageHeight);
    // Whole screen px keep 100 % sharp.
    this.x = Math.round(this.x);
    this.y = Math.round(this.y);
  }
}
