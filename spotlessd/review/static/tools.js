// The toolbar: which layer is shown, which tool the pointer is, how large the brush. Keeps stage and buttons alike.

import { byId } from "./page.js";
import { LEAST_RADIUS, MOST_RADIUS } from "./stage.js";

const CURSORS = { brush: "none", box: "crosshair", pan: "grab" };

export class Tools {
  constructor(stage) {
    this.stage = stage;
    const groups = ["modes", "zooms", "edit-tools"].map(byId);
    groups[0].addEventListener("click", (event) => this.#pressMode(event.target.closest("button")));
    groups[1].addEventListener("click", (event) => this.#pressZoom(event.target.closest("button")));
    byId("edit-tools").addEventListener("click", (event) => {
      const button = event.target.closest("[data-tool]");
      if (button) this.setTool(button.dataset.tool);
    });
    byId("erase").addEventListener("click", () => this.setErase(stage.drawMode === "add"));
    byId("size").addEventListener("input", (event) => this.setSize(Number(event.target.value)));
    byId("split").addEventListener("input", (event) => {
      stage.splitAt = Number(event.target.value) / 1000;
      stage.moved();
    });
    // After a press by the pointer the keys are the picture's again, so that space compares and does not press twice.
    for (const group of groups) {
      group.addEventListener("click", (event) => {
        if (event.detail > 0 && event.target.closest("button")) stage.canvas.focus({ preventScroll: true });
      });
    }
    this.setSize(stage.radius);
  }

  setMode(mode) {
    const { stage } = this;
    if (!stage.frame.layers.includes(mode === "before" ? "before" : "after")) return;
    stage.mode = mode;
    for (const button of byId("modes").querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    stage.moved();
  }

  setMask(isShown) {
    const { stage } = this;
    stage.isMaskShown = isShown && stage.frame.layers.includes("mask");
    byId("mask").setAttribute("aria-pressed", String(stage.isMaskShown));
    stage.paint();
  }

  setTool(tool) {
    const { stage } = this;
    stage.tool = stage.frame.can.edit ? tool : "pan";
    stage.canvas.style.cursor = CURSORS[stage.tool];
    for (const button of byId("edit-tools").querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === stage.tool));
    }
    byId("size-label").hidden = stage.tool !== "brush";
    if (stage.tool === "pan") this.setErase(false);
    stage.moved();
  }

  // To erase is to draw: the hand becomes a brush.
  setErase(isErasing) {
    this.stage.drawMode = isErasing ? "remove" : "add";
    byId("erase").setAttribute("aria-pressed", String(isErasing));
    if (isErasing && this.stage.tool === "pan") this.setTool("brush");
  }

  setSize(radius) {
    this.stage.radius = Math.min(MOST_RADIUS, Math.max(LEAST_RADIUS, radius));
    byId("size").value = String(Math.round(this.stage.radius));
    this.stage.paint();
  }

  #pressMode(button) {
    if (button?.id === "mask") this.setMask(!this.stage.isMaskShown);
    else if (button) this.setMode(button.dataset.mode);
  }

  #pressZoom(button) {
    if (!button) return;
    const { zoom } = button.dataset;
    if (zoom === "fit") this.stage.fit();
    else if (zoom === "in" || zoom === "out") this.stage.zoom(zoom === "in" ? 1.5 : 1 / 1.5);
    else this.stage.zoomTo(Number(zoom));
  }
}
