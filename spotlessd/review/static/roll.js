// The roll view: asks for the frames, keeps them up to date, filters and searches. The address has the filters, so
// that going back from a frame shows the same frames again.

import { getJson } from "./api.js";
import { listen } from "./live.js";
import { byId, isDialogOpen, isTyping, make, say, setUpPage, showConnection, tell, toggleHelp } from "./page.js";
import { Sheet } from "./sheet.js";
import { day, plural, station } from "./words.js";

const PAGE = 200;
const SEARCH_DELAY_MS = 180;
const REFRESH_MS = 700;
const REFRESH_ALL_MS = 5000;
const PLACE = "roll-place";

const address = new URL(location.href);
const filters = Object.fromEntries(
  ["state", "root", "day", "q"].map((name) => [name, address.searchParams.get(name) ?? ""]),
);
const sheet = new Sheet(byId("sheet"), byId("root").options.length > 2);
const moreWatch = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && loadMore(), {
  rootMargin: "1500px",
});
let total = 0;
let held = [];
let asking = null;
let refreshTimer = null;
let isAllStale = false;
let lastWhole = 0;
const changedIds = new Set();

function query(offset, limit) {
  const words = new URLSearchParams({ offset, limit });
  for (const [name, value] of Object.entries(filters)) if (value) words.set(name, value);
  return `/api/roll?${words}`;
}

async function ask(offset, limit) {
  asking?.abort();
  asking = new AbortController();
  try {
    return await getJson(query(offset, limit), asking.signal);
  } catch (error) {
    if (error.name !== "AbortError") {
      byId("main").setAttribute("aria-busy", "false");
      tell(error.message, "error");
    }
    return null;
  }
}

// Ask anew for everything that fits the filters. `wanted`: how many frames were shown before.
async function load(wanted = PAGE) {
  byId("main").setAttribute("aria-busy", "true");
  const found = await ask(0, Math.min(Math.max(wanted, PAGE), 500));
  if (found === null) return;
  held = [];
  byId("arrived").hidden = true;
  sheet.clear();
  sheet.append(found.items);
  showRest(found);
  byId("main").setAttribute("aria-busy", "false");
  performance.mark("contact-sheet");
  say(total === 0 ? "No frames." : plural(total, "frame"));
}

async function loadMore() {
  if (asking !== null && byId("main").getAttribute("aria-busy") === "true") return;
  if (sheet.size >= total) return;
  byId("main").setAttribute("aria-busy", "true");
  // What arrived meanwhile moved the rest on; frames that come twice are known and stay where they are.
  const found = await ask(sheet.size + held.length, PAGE);
  byId("main").setAttribute("aria-busy", "false");
  if (found === null) return;
  sheet.append(found.items);
  showRest(found);
}

function showRest(found) {
  total = found.total;
  sheet.setTotals(found.days);
  showCounts(found.counts);
  showDays(found.days);
  showStation(found.station);
  showUnsettled(found.waiting);
  const empty = byId("empty");
  empty.hidden = total > 0;
  const isFiltered = Object.values(filters).some(Boolean);
  empty.textContent = isFiltered
    ? "No frame fits. Press 1 for all frames."
    : "No frames yet. They appear here when a scan arrives.";
  byId("more").textContent =
    sheet.size < total ? `${sheet.size.toLocaleString("en")} of ${plural(total, "frame")} shown` : "";
  moreWatch.unobserve(byId("more"));
  moreWatch.observe(byId("more"));
}

function showCounts(counts) {
  const all = ["done", "held", "quarantined", "waiting"].reduce((sum, name) => sum + (counts[name] ?? 0), 0);
  for (const place of document.querySelectorAll("[data-count]")) {
    place.textContent = (place.dataset.count ? (counts[place.dataset.count] ?? 0) : all).toLocaleString("en");
  }
}

function showDays(days) {
  const select = byId("day");
  const options = days.map((one) => make("option", { value: one.day, text: `${day(one.day)} (${one.count})` }));
  if (filters.day && !days.some((one) => one.day === filters.day)) {
    options.unshift(make("option", { value: filters.day, text: day(filters.day) }));
  }
  select.replaceChildren(make("option", { value: "", text: "all" }), ...options);
  select.value = filters.day;
}

function showStation(values) {
  byId("station").textContent = `Station ${values.id} · ${station(values)}`;
}

function showUnsettled(files) {
  const box = byId("unsettled");
  box.hidden = files.length === 0;
  box.firstElementChild.textContent = `${plural(files.length, "file")} not ready yet`;
  const lines = files
    .slice(0, 200)
    .map((file) =>
      make(
        "li",
        {},
        make("span", { className: "name", text: file.rel }),
        " ",
        make("span", { className: "faint", text: file.reason }),
      ),
    );
  box.lastElementChild.replaceChildren(...lines);
}

function onChange(change) {
  showCounts(change.counts);
  showStation(change.station);
  change.ids.forEach((id) => changedIds.add(id));
  refreshTimer ??= setTimeout(refresh, REFRESH_MS);
}

// Bring what is shown up to date. New frames go to the top where they are seen; who has scrolled is only told.
async function refresh() {
  refreshTimer = null;
  if (byId("main").getAttribute("aria-busy") === "true") {
    refreshTimer = setTimeout(refresh, REFRESH_MS);
    return;
  }
  const isWhole = isAllStale && Date.now() - lastWhole > REFRESH_ALL_MS;
  const first = await ask(0, isWhole ? Math.min(Math.max(sheet.size, PAGE), 500) : PAGE);
  if (first === null) return;
  const isAll = first.items.length === first.total;
  const fresh = first.items.filter((item) => !sheet.has(item));
  const atTop = scrollY < 80;
  first.items.forEach((item) => sheet.update(item));
  if (atTop || sheet.size === 0) {
    held = [];
    sheet.prepend(fresh);
    if (fresh.length) say(`${plural(fresh.length, "new frame")}: ${fresh[0].name}`);
    sheet.dropMissing(first.items, isAll);
  } else {
    held = fresh;
  }
  byId("arrived").hidden = held.length === 0;
  byId("arrived").textContent = `${plural(held.length, "new frame")}: show`;
  first.items.forEach((item) => changedIds.delete(item.id));
  await refreshOlder(isWhole);
  showRest(first);
}

// A new version of an older frame stays where the frame is: look at all that is shown, but not too often.
async function refreshOlder(isWhole) {
  if (changedIds.size === 0 || sheet.size <= PAGE) {
    changedIds.clear();
    isAllStale = false;
    return;
  }
  isAllStale = true;
  if (!isWhole) {
    if (Date.now() - lastWhole > REFRESH_ALL_MS) refreshTimer ??= setTimeout(refresh, REFRESH_MS);
    return;
  }
  lastWhole = Date.now();
  for (let offset = 500; offset < sheet.size; offset += 500) {
    const found = await ask(offset, 500);
    found?.items.forEach((item) => sheet.update(item));
  }
  changedIds.clear();
  isAllStale = false;
}

function setFilter(name, value) {
  const text = byId("search").value.trim(); // what was typed last may not have been asked for yet
  if (filters[name] === value && filters.q === text) return;
  filters[name] = value;
  filters.q = text;
  showFilters();
  const words = new URLSearchParams(Object.entries(filters).filter(([, one]) => one));
  history.replaceState(null, "", words.size ? `/?${words}` : "/");
  load();
}

function showFilters() {
  for (const button of byId("states").children) {
    button.setAttribute("aria-pressed", String(button.dataset.state === filters.state));
  }
  byId("root").value = filters.root;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isDialogOpen()) return;
  if (event.key === "Escape" && event.target === byId("search")) {
    sheet.focus(sheet.current ?? sheet.list()[0]);
    return;
  }
  if (isTyping(event)) {
    if (event.target === byId("search") && ["Enter", "ArrowDown"].includes(event.key)) {
      event.preventDefault();
      sheet.focus(sheet.list()[0]);
    }
    return;
  }
  const states = byId("states").children;
  if (event.key === "?") toggleHelp();
  else if (event.key === "/") byId("search").focus();
  else if (/^[1-5]$/.test(event.key)) setFilter("state", states[event.key - 1].dataset.state);
  else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
    const isInside = sheet.element.contains(document.activeElement);
    sheet.focus(isInside ? sheet.neighbour(event.key) : (sheet.current ?? sheet.list()[0]));
  } else if (event.key === " " && sheet.element.contains(event.target)) sheet.current.firstElementChild.click();
  else return;
  event.preventDefault();
}

function rememberPlace() {
  const place = { query: location.search, shown: sheet.size, scroll: scrollY, key: sheet.current?.dataset.key };
  sessionStorage.setItem(PLACE, JSON.stringify(place));
}

async function start() {
  setUpPage();
  byId("search").value = filters.q;
  showFilters();
  byId("states").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) setFilter("state", button.dataset.state);
  });
  byId("root").addEventListener("change", (event) => setFilter("root", event.target.value));
  byId("day").addEventListener("change", (event) => setFilter("day", event.target.value));
  let timer = null;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => setFilter("q", event.target.value.trim()), SEARCH_DELAY_MS);
  });
  byId("arrived").addEventListener("click", () => {
    scrollTo({ top: 0 });
    sheet.prepend(held);
    held = [];
    byId("arrived").hidden = true;
    sheet.focus(sheet.list()[0], { preventScroll: true });
  });
  addEventListener("keydown", onKey);
  addEventListener("pagehide", rememberPlace);

  const place = JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
  const isBack = place !== null && place.query === location.search;
  await load(isBack ? place.shown : PAGE);
  if (isBack) {
    scrollTo({ top: place.scroll });
    sheet.focus(sheet.cells.get(place.key), { preventScroll: true });
  }
  listen(onChange, showConnection);
}

start();
