// A frame's pyramid of tiles: asks for those that are wanted now, the coarse ones first, and keeps the last ones used.
// Level 0 is full size, each further level half of the one before; the last fits one tile.

const AT_ONCE = 5; // a browser has six connections for one station, and one is for the events
const KEPT = 260;
const RETRY_MS = 1500;
const MOST_TRIES = 3;

export class Tiles {
  // `frame`: as /api/frame gives it. `onLoad`: something new can be drawn. `onError`: a sentence.
  constructor(frame, onLoad, onError) {
    this.frame = frame;
    this.size = frame.tiles.size;
    this.last = Math.max(0, Math.ceil(Math.log2(Math.max(frame.width, frame.height) / this.size)));
    this.onLoad = onLoad;
    this.onError = onError;
    this.kept = new Map();
    this.wanted = [];
    this.loading = 0;
    this.isClosed = false;
  }

  close() {
    this.isClosed = true;
    this.wanted = [];
  }

  // The level whose px are not larger than the screen's at this scale.
  levelFor(scale) {
    return Math.min(this.last, Math.max(0, Math.floor(Math.log2(1 / scale) + 0.01)));
  }

  // Begin a drawing: what is asked for from here on is wanted, the rest no longer.
  begin() {
    this.wanted = [];
  }

  end() {
    this.wanted.sort((one, other) => one.rank - other.rank);
    this.#load();
  }

  // Draw `layer` into `context`, whose px are the screen's; `box` [left, top, right, bottom]: what is seen, frame px.
  draw(context, view, layer, level, box) {
    // The mask's ground is transparent: a coarse level would show round the fine one, so only one of them is drawn.
    if (layer === "mask") {
      if (!this.#drawLevel(context, view, layer, level, box, true)) {
        context.clearRect(0, 0, context.canvas.width, context.canvas.height);
        this.#drawLevel(context, view, layer, this.last, box, true);
      }
      return;
    }
    for (let at = this.last; at >= level; at--) {
      // Between the coarsest and the right level only what is there already.
      this.#drawLevel(context, view, layer, at, box, at === level || at === this.last);
    }
  }

  // Returns whether all of it was there.
  #drawLevel(context, view, layer, level, [left, top, right, bottom], isWanted) {
    const step = this.size * 2 ** level;
    const columns = Math.ceil(this.frame.width / step);
    const rows = Math.ceil(this.frame.height / step);
    const middle = [(left + right) / 2, (top + bottom) / 2];
    let isWhole = true;
    for (let row = Math.max(0, Math.floor(top / step)); row < Math.min(rows, Math.ceil(bottom / step)); row++) {
      for (let col = Math.max(0, Math.floor(left / step)); col < Math.min(columns, Math.ceil(right / step)); col++) {
        const tile = this.#tile(layer, level, col, row);
        if (tile.picture) {
          this.#paint(context, view, tile, level, col * step, row * step);
          continue;
        }
        isWhole = false;
        if (isWanted && !tile.isAsked && tile.tries < MOST_TRIES) {
          const distance = Math.hypot((col + 0.5) * step - middle[0], (row + 0.5) * step - middle[1]);
          this.wanted.push({ tile, rank: (level === this.last ? 0 : 1e9) + distance });
        }
      }
    }
    return isWhole;
  }

  #paint(context, view, { picture }, level, left, top) {
    const [x, y] = view.toStage(left, top);
    const right = Math.min(this.frame.width, left + picture.width * 2 ** level);
    const bottom = Math.min(this.frame.height, top + picture.height * 2 ** level);
    const [endX, endY] = view.toStage(right, bottom);
    // Edges on whole screen px: neighbours share them, so no seam shows.
    const [x0, y0, x1, y1] = [x, y, endX, endY].map(Math.round);
    context.drawImage(picture, x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0));
  }

  #tile(layer, level, col, row) {
    const suffix = layer === "mask" ? "png" : "jpg";
    const { id, key } = this.frame;
    const address = `/tiles/${id}/${layer}/${level}/${col}_${row}.${suffix}?k=${encodeURIComponent(key)}`;
    let tile = this.kept.get(address);
    if (tile === undefined) {
      tile = { address, isMask: layer === "mask", picture: null, isAsked: false, tries: 0 };
    } else {
      this.kept.delete(address);
    }
    this.kept.set(address, tile);
    return tile;
  }

  #load() {
    while (this.loading < AT_ONCE && this.wanted.length) {
      const { tile } = this.wanted.shift();
      if (!tile.isAsked) this.#ask(tile);
    }
  }

  async #ask(tile) {
    tile.isAsked = true;
    tile.tries += 1;
    this.loading += 1;
    const picture = new Image();
    picture.src = tile.address;
    try {
      await picture.decode();
      tile.picture = tile.isMask ? tinted(picture) : picture;
    } catch {
      tile.isAsked = false;
      if (tile.tries === MOST_TRIES)
        this.onError("A part of the picture could not be drawn; load the page again to try once more.");
      else setTimeout(() => this.onLoad(), RETRY_MS);
    }
    this.loading -= 1;
    if (this.isClosed) return;
    this.#forget();
    if (tile.picture) this.onLoad();
    this.#load();
  }

  #forget() {
    for (const [address, tile] of this.kept) {
      if (this.kept.size <= KEPT) return;
      if (!tile.isAsked || tile.picture) this.kept.delete(address);
    }
  }
}

const MASK_COLOUR = "rgb(255 64 160)";

// A mask's tile is opaque where something is repaired; here in one colour, so that it lies over the picture.
function tinted(picture) {
  const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = MASK_COLOUR;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}
