// The shapes of states and tools, drawn in place: 16 × 16, in the text's colour. Never the only sign of anything.

const PATHS = {
  done: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.6 5.3-4.2 4.9a.9.9 0 0 1-1.3 0L4.2 9.3l1.2-1.2 1.3 1.3 3.6-4.2Z",
  held: "M8 .6 15.4 8 8 15.4.6 8ZM5.6 5.3v5.4h1.7V5.3Zm3.1 0v5.4h1.7V5.3Z",
  quarantined: "M8 1 15.6 14.6H.4ZM7.1 5.8v4.4h1.8V5.8Zm0 5.4V13h1.8v-1.8Z",
  waiting:
    "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.7a5.3 5.3 0 1 1 0 10.6A5.3 5.3 0 0 1 8 2.7Z" +
    "m-.9 1.5v4.3l3.2 1.9.9-1.4-2.4-1.4V4.2Z",
  running: "M3 1.6 14 8 3 14.4Z",
  gone: "M2 7h12v2H2Z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name] ?? PATHS.gone);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}
