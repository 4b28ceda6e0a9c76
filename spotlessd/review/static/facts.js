// What is known about a frame, and who decided what, as a short table in words.

import { byId, make } from "./page.js";
import { coverage, decision, moment, plural, stateOf } from "./words.js";

export function showFacts(frame) {
  const facts = [
    ["Folder", frame.root],
    ["File", frame.rel],
    ["Size", frame.width ? `${frame.width} × ${frame.height} px${frame.bits ? `, ${frame.bits} bits` : ""}` : ""],
    ["On film", onFilm(frame)],
    ["Resolution", frame.dpi ? `${Math.round(frame.dpi)} dpi` : ""],
    [
      "Repaired",
      frame.coverage === null
        ? ""
        : `${plural(frame.defects.length, "place")}, ${coverage(frame.coverage)} of the frame`,
    ],
    ["Sensitivity", frame.sensitivity ?? ""],
  ];
  const rows = facts
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]);
  byId("facts").replaceChildren(...rows);
  const lines = [...frame.decisions.map(decision), ...frame.notes];
  byId("notes").replaceChildren(...lines.map((text) => make("li", { text: String(text) })));
}

function onFilm({ width, height, um_per_px: um }) {
  if (!um || !width) return "";
  const mm = (px) => ((px * um) / 1000).toFixed(1);
  return `${mm(width)} × ${mm(height)} mm`;
}

export function showVersions(frame) {
  const { versions } = frame;
  byId("versions-label").hidden = versions.length < 2;
  const options = versions.map((version, at) => {
    const words = [version.name, stateOf(version.state).word, moment(version.finished)].filter(Boolean);
    return make("option", { value: String(version.id), text: `${versions.length - at}: ${words.join(", ")}` });
  });
  byId("versions").replaceChildren(...options);
  byId("versions").value = String(frame.id);
}
