// The frame view: loads a frame, wires stage, list, tools and decisions, and follows new versions as they come.

import { getJson, postJson } from "./api.js";
import { DefectList } from "./defects.js";
import { Editing } from "./editing.js";
import { showFacts, showVersions } from "./facts.js";
import { setUpKeys } from "./keys.js";
import { listen } from "./live.js";
import { byId, say, setUpPage, showConnection, stateBadge, tell } from "./page.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";
import { certainty, length, outcome, plural, stateOf } from "./words.js";

const NOT_ENDED = ["queued", "running"];
const LOOK_MS = 300;

let frame = null;
let request = null; // {number, newest}: a decision that was sent, and the newest version when it was
let lookTimer = null;
let isBack = false;
const editing = new Editing(document.body.dataset.id, showEdits);
const stage = new Stage(byId("canvas"), editing, {
  shape: addShape,
  pick: (index) =>
    index === null || index !== stage.selected ? choose(index) : stage.select(index, { isShown: true }),
  moved: showView,
  trouble: (sentence) => tell(sentence, "error"),
});
const tools = new Tools(stage);
const list = new DefectList(byId("defects"), byId("defects-note"), { go: choose, toggle });

async function open(id, { isKept = false } = {}) {
  let found;
  try {
    found = await getJson(`/api/frame/${id}`);
  } catch (error) {
    tell(error.message, "error");
    return;
  }
  const hadAfter = frame?.layers.includes("after");
  frame = found;
  document.body.dataset.id = String(id);
  if (location.pathname !== `/frame/${id}`) history.replaceState(null, "", `/frame/${id}`);
  document.title = `${frame.name} · spotless`;
  editing.open(id, frame.defects.length);
  stage.setFrame(frame, { isKept });
  const hasAfter = frame.layers.includes("after");
  if (!hasAfter || !isKept || hasAfter !== hadAfter) tools.setMode(hasAfter ? "after" : "before");
  if (!isKept || hasAfter !== hadAfter) tools.setMask(!hasAfter && frame.layers.includes("mask"));
  tools.setTool("pan");
  showFrame();
  list.setFrame(frame, frame.can.edit);
  showFacts(frame);
  showVersions(frame);
  showEdits();
  byId("main").setAttribute("aria-busy", "false");
}

function showFrame() {
  const { word } = stateOf(frame.state);
  byId("name").textContent = frame.name;
  byId("state").replaceChildren(stateBadge(frame.state));
  for (const name of ["prev", "next"]) {
    const link = byId(name);
    link.hidden = frame[name] === null;
    if (frame[name] !== null) link.href = `/frame/${frame[name]}`;
  }
  const titles = { held: "Held for you to decide", quarantined: "Could not be done" };
  byId("reason-box").hidden = !frame.reason && !frame.can.retry && !frame.can.bump;
  byId("reason-box").dataset.state = frame.state;
  byId("reason-title").textContent = titles[frame.state] ?? word;
  byId("reason").textContent = frame.reason;
  byId("retry").hidden = !frame.can.retry || frame.state === "queued";
  byId("bump").hidden = !frame.can.bump;
  byId("tools").hidden = !stage.tiles;
  byId("outcome").hidden = !frame.can.edit;
  byId("decide").hidden = !frame.can.edit && request === null;
  byId("edit-tools").hidden = !frame.can.edit || !stage.tiles;
  byId("release").hidden = !frame.can.release;
  byId("change").hidden = frame.can.release || !frame.can.edit;
  byId("again-box").hidden = !frame.can.edit;
  byId("original").hidden = frame.can.release;
  byId("sensitivity").value = frame.sensitivity ?? "normal";
  byId("repairs").hidden = frame.defects.length === 0 && !frame.can.edit;
  byId("repairs-title").textContent = plural(frame.defects.length, frame.can.release ? "proposed repair" : "repair");
  byId("repairs-hint").hidden = frame.defects.length < 2;
  for (const button of byId("modes").children) {
    const layer = { before: "before", after: "after", compare: "after" }[button.dataset.mode] ?? "mask";
    button.disabled = !frame.layers.includes(layer);
  }
  byId("trouble").hidden = stage.tiles !== null;
  byId("trouble").textContent = frame.trouble || `There is no picture yet: the frame is ${word.toLowerCase()}.`;
}

function showEdits() {
  if (frame === null) return;
  byId("undo").disabled = editing.past.length === 0;
  byId("redo").disabled = editing.future.length === 0;
  byId("apply").disabled = byId("release-edited").disabled = editing.isEmpty;
  byId("discard").disabled = editing.isEmpty;
  byId("outcome").textContent = outcome(editing.numbers, { isHeld: frame.can.release, defects: frame.defects.length });
  list.show(stage.selected, editing.takeBack);
  showChosen();
  stage.paint();
}

function showView() {
  const percent = 100 * stage.view.scale;
  byId("scale").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
  const isCompared = stage.mode === "compare";
  byId("split").hidden = byId("tag-left").hidden = byId("tag-right").hidden = !isCompared;
  byId("split").value = String(Math.round(1000 * stage.splitAt));
  showChosen();
}

// The chosen repair has its button beside it in the picture, within reach of a thumb.
function showChosen() {
  const box = byId("chosen");
  const index = stage.selected;
  box.hidden = index === null || !stage.tiles || stage.tool !== "pan";
  if (box.hidden) return;
  const defect = frame.defects[index];
  byId("chosen-text").textContent = [defect.kind, length(defect.length_um), certainty(defect)]
    .filter(Boolean)
    .join(", ");
  byId("chosen-toggle").hidden = !frame.can.edit;
  byId("chosen-toggle").textContent = editing.takeBack.has(index) ? "Return" : "Take back";
  const [top, left, bottom, right] = defect.box;
  const [x, below] = stage.view.toStage((left + right) / 2, bottom).map((one) => one / devicePixelRatio);
  const above = stage.view.toStage(left, top)[1] / devicePixelRatio;
  const around = byId("stage");
  const { offsetWidth: width, offsetHeight: height } = box;
  const y = below + 18 + height < around.clientHeight ? below + 18 : above - 18 - height;
  box.style.left = `${Math.min(Math.max(6, x - width / 2), around.clientWidth - width - 6)}px`;
  box.style.top = `${Math.min(Math.max(6, y), around.clientHeight - height - 6)}px`;
}

function choose(index) {
  stage.select(index, { isShown: index !== null });
  list.show(index, editing.takeBack);
  if (index !== null) {
    list.reveal(index, list.hasFocus);
    // On a phone the list is below the picture.
    if (byId("stage").getBoundingClientRect().bottom < innerHeight / 4) byId("stage").scrollIntoView();
  }
  showChosen();
}

function toggle(index) {
  if (index === null || !frame.can.edit) return;
  const isTaken = editing.toggle(index);
  const { kind } = frame.defects[index];
  say(`${kind} ${isTaken ? "is taken back" : "is repaired again"}. ${byId("outcome").textContent}`);
}

function addShape(shape) {
  if (shape.box) editing.addBox(shape);
  else editing.addStroke(shape);
  if (!shape.box && editing.boxes.some((box) => box.mode !== shape.mode)) {
    say("Boxes count after brush strokes, whichever was drawn last.");
  }
}

async function send(address, value) {
  const newest = frame.versions[0]?.id ?? frame.id;
  try {
    const answer = await postJson(`/api/frame/${frame.id}/${address}`, value);
    request = { number: answer.request, newest };
    if (value?.choice === "edited") editing.forget();
    follow(answer.text ?? "Written down.");
  } catch (error) {
    tell(error.message, "error");
  }
}

function follow(text) {
  byId("decide").hidden = false;
  byId("follow").hidden = !text;
  byId("follow").textContent = text
    ? `${text.charAt(0).toUpperCase()}${text.slice(1)} The result is shown here when it is ready.`
    : "";
}

function endFollowing() {
  request = null;
  follow("");
}

const apply = () => !editing.isEmpty && send("decide", editing.toJson());
const decide = (choice, rest = {}) => send("decide", { choice, ...rest });

function onChange(change) {
  const answer = (change.answers ?? []).find((one) => request !== null && one.request === request.number);
  if (answer && !answer.ok) {
    endFollowing();
    tell(answer.text, "error");
  }
  // Other frames' news are not ours, but what came while the page was away may be.
  if (request !== null || isBack || change.ids.includes(frame?.id)) lookTimer ??= setTimeout(look, LOOK_MS);
  isBack = false;
}

function onConnection(isOpen) {
  if (isOpen) isBack = true;
  showConnection(isOpen);
}

// Look whether this frame, or a newer version of it, has changed.
async function look() {
  lookTimer = null;
  if (frame === null) return;
  let now;
  try {
    now = await getJson(`/api/frame/${frame.id}`);
  } catch {
    return; // the connection's own notice tells
  }
  if (now.id !== frame.id) return;
  const newer = now.versions.find(
    (version) => version.id > (request?.newest ?? Infinity) && !NOT_ENDED.includes(version.state),
  );
  if (newer) {
    endFollowing();
    if (editing.isEmpty) await openNewer(newer.id);
    else offer(newer.id);
  } else if (now.state !== frame.state || now.key !== frame.key) {
    if (!NOT_ENDED.includes(now.state)) endFollowing();
    await open(frame.id, { isKept: true });
  } else if (now.versions.length !== frame.versions.length) {
    frame.versions = now.versions;
    showVersions(frame);
  }
}

async function openNewer(id) {
  await open(id, { isKept: true });
  say("The new version is shown.");
  const shown = frame.versions.find((version) => version.id === id);
  tell(`This is the new version, ${shown?.name ?? frame.name}.`);
}

function offer(id) {
  const button = byId("newer");
  button.hidden = false;
  button.onclick = () => {
    button.hidden = true;
    openNewer(id);
  };
}

function leave() {
  if (stage.drawing) stage.gestures.cancel();
  else if (stage.tool !== "pan") tools.setTool("pan");
  else if (stage.selected !== null) choose(null);
  else location.assign("/");
}

function step(by) {
  const index = list.next(stage.selected, by);
  if (index !== null) choose(index);
}

function go(name) {
  if (frame?.[name]) location.assign(`/frame/${frame[name]}`);
}

function setUpButtons() {
  const press = (id, action) => byId(id).addEventListener("click", action);
  press("undo", () => editing.undo());
  press("redo", () => editing.redo());
  press("discard", () => editing.discard());
  press("apply", apply);
  press("release-proposed", () => decide("proposed"));
  press("release-edited", apply);
  press("release-original", () => decide("original"));
  press("original", () => decide("original"));
  press("again", () => decide("again", { sensitivity: byId("sensitivity").value }));
  press("retry", () => send("retry"));
  press("bump", () => send("bump"));
  press("chosen-toggle", () => toggle(stage.selected));
  byId("versions").addEventListener("change", (event) => open(Number(event.target.value), { isKept: true }));
  addEventListener("beforeunload", (event) => {
    if (!editing.isEmpty) event.preventDefault();
  });
}

setUpPage();
setUpButtons();
setUpKeys({
  mode: (mode) => tools.setMode(mode),
  mask: () => tools.setMask(!stage.isMaskShown),
  zoom: (factor) => stage.zoom(factor),
  fit: () => stage.fit(),
  actual: () => stage.zoomTo(stage.view.scale === 1 ? 2 : 1),
  pan: (dx, dy) => stage.pan(dx, dy),
  step,
  toggle: () => toggle(stage.selected),
  tool: (name) => tools.setTool(name),
  erase: () => tools.setErase(stage.drawMode === "add"),
  size: (factor) => tools.setSize(stage.radius * factor),
  undo: () => editing.undo(),
  redo: () => editing.redo(),
  apply: () => frame?.can.edit && apply(),
  leave,
  go,
  hold: (isHeld) => {
    stage.isHeldBefore = isHeld;
    stage.paint();
  },
  isListFocused: () => list.hasFocus,
});
await open(Number(document.body.dataset.id));
performance.mark("frame-open");
listen(onChange, onConnection);
