// The contact sheet: frames by day, each in a box of fixed shape, so that nothing moves when its picture comes.

import { icon } from "./icons.js";
import { make, stateBadge } from "./page.js";
import { coverage, day, plural, stateOf } from "./words.js";

const keyOf = (item) => `${item.root}\n${item.rel}`;

export class Sheet {
  // `isRootShown`: there is more than one folder, so each frame says which one it is from.
  constructor(element, isRootShown) {
    this.element = element;
    this.isRootShown = isRootShown;
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.cells = new Map();
    this.days = new Map();
    this.current = null;
  }

  get size() {
    return this.cells.size;
  }

  // Frames that are shown already are brought up to date; the others follow at the end.
  append(items) {
    for (const item of items) {
      if (!this.update(item)) this.#day(item.day, "append").list.append(this.#add(item));
    }
    this.#count();
  }

  // Newer frames go before all others; `items` is newest first.
  prepend(items) {
    for (const item of [...items].reverse()) {
      if (this.update(item)) continue;
      const cell = this.#add(item);
      cell.classList.add("new");
      this.#day(item.day, "prepend").list.prepend(cell);
    }
    this.#count();
  }

  update(item) {
    const cell = this.cells.get(keyOf(item));
    if (cell === undefined) return false;
    const text = JSON.stringify(item);
    if (cell.dataset.item !== text) this.#fill(cell, item, text);
    return true;
  }

  has(item) {
    return this.cells.has(keyOf(item));
  }

  // Take away what is among the first frames but not in `items`, the first frames as they are now.
  dropMissing(items, isAll) {
    const kept = new Set(items.map(keyOf));
    const reach = isAll ? this.cells.size : items.length;
    for (const cell of this.list().slice(0, reach)) {
      if (!kept.has(cell.dataset.key)) this.#remove(cell);
    }
    this.#count();
  }

  list() {
    return [...this.element.querySelectorAll("li")];
  }

  // Move the focus; the frame it leaves is no longer in the order of Tab.
  focus(cell, options) {
    const link = cell?.firstElementChild;
    if (!link) return;
    this.#setCurrent(cell);
    link.focus(options);
  }

  neighbour(key) {
    const cells = this.list();
    const at = cells.indexOf(this.current);
    if (at < 0) return cells[0];
    if (key === "Home") return cells[0];
    if (key === "End") return cells.at(-1);
    if (key === "ArrowLeft") return cells[at - 1];
    if (key === "ArrowRight") return cells[at + 1];
    return nextRow(cells, at, key === "ArrowDown" ? 1 : -1);
  }

  #setCurrent(cell) {
    this.current?.firstElementChild.setAttribute("tabindex", "-1");
    this.current = cell;
    cell.firstElementChild.setAttribute("tabindex", "0");
  }

  #add(item) {
    const cell = make("li", {}, make("a", { tabindex: "-1" }));
    cell.firstElementChild.addEventListener("focus", () => this.#setCurrent(cell));
    this.#fill(cell, item, JSON.stringify(item));
    this.cells.set(keyOf(item), cell);
    if (this.current === null) this.#setCurrent(cell);
    return cell;
  }

  #fill(cell, item, text) {
    const link = cell.firstElementChild;
    cell.dataset.item = text;
    cell.dataset.key = keyOf(item);
    link.href = `/frame/${item.id}`;
    link.title = item.reason ? `${item.rel}\n${item.reason}` : item.rel;
    const frame = pictureFor(item, link.querySelector(".picture"));
    const facts = [];
    if (item.defects !== null) facts.push(plural(item.defects, "repair"), coverage(item.coverage));
    if (item.versions > 1) facts.push(`version ${item.versions}`);
    const parts = [
      frame,
      make("span", { className: "name", text: item.name }),
      make(
        "span",
        { className: "line" },
        stateBadge(item.state),
        make("span", { text: facts.filter(Boolean).join(" · ") }),
      ),
    ];
    if (item.reason) parts.push(make("span", { className: "reason", text: item.reason }));
    if (this.isRootShown) parts.push(make("span", { className: "reason", text: item.root }));
    link.replaceChildren(...parts);
  }

  #remove(cell) {
    this.cells.delete(cell.dataset.key);
    if (this.current === cell) this.current = null;
    cell.remove();
    const first = this.element.querySelector("li");
    if (this.current === null && first) this.#setCurrent(first);
  }

  #day(iso, place) {
    let found = this.days.get(iso);
    if (found === undefined) {
      const list = make("ul", { role: "list" });
      const title = make("h2", { text: day(iso) });
      const number = make("span", { className: "faint" });
      title.append(" ", number);
      found = { list, number, section: make("section", { "aria-label": day(iso) }, title, list) };
      this.days.set(iso, found);
      this.element[place](found.section);
    }
    return found;
  }

  #count() {
    for (const [iso, { list, number, section }] of this.days) {
      if (list.childElementCount === 0) {
        section.remove();
        this.days.delete(iso);
      } else if (this.totals?.has(iso)) {
        number.textContent = plural(this.totals.get(iso), "frame");
      }
    }
  }

  // `days`: [{day, count}] of all frames that are asked for, shown or not.
  setTotals(days) {
    this.totals = new Map(days.map((one) => [one.day, one.count]));
    this.#count();
  }
}

// The box keeps its picture while the address stays the same, so that an update does not flicker.
function pictureFor(item, present) {
  if (present && present.dataset.thumb === (item.thumb ?? "")) {
    present.dataset.state = item.state;
    return present;
  }
  const frame = make("span", { className: "picture", "data-thumb": item.thumb ?? "", "data-state": item.state });
  if (item.thumb === null) {
    frame.append(icon(stateOf(item.state).icon));
    return frame;
  }
  const picture = make("img", {
    alt: "",
    loading: "lazy",
    decoding: "async",
    width: "240",
    height: "160",
    src: item.thumb,
  });
  picture.addEventListener("load", () => frame.classList.add("drawn"));
  picture.addEventListener("error", () =>
    picture.replaceWith(make("span", { className: "faint", text: "no picture" })),
  );
  frame.append(picture);
  return frame;
}

// The frame that lies nearest in the next row, by where things really are.
function nextRow(cells, at, step) {
  const from = cells[at].getBoundingClientRect();
  let best = null;
  let row = null;
  for (let index = at + step; index >= 0 && index < cells.length; index += step) {
    const box = cells[index].getBoundingClientRect();
    if (Math.abs(box.top - from.top) < 2) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) > 2) break;
    const distance = Math.abs(box.left - from.left);
    if (best === null || distance < best.distance) best = { cell: cells[index], distance };
  }
  return best?.cell;
}
