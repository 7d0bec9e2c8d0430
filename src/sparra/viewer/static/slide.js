// The zoomable slide with its importance above.

import { getJson, isPainted, notesOf, pathOf, withQuery } from "./request.js";

const FOCUS_UM = 1000;

export class SlidePane {
  constructor(fail) {
    this.fail = fail;
    this.element = document.getElementById("slide");
    this.absent = document.getElementById("slide-absent");
    this.note = document.getElementById("slide-note");
    this.bar = document.getElementById("slide-bar");
    this.opacity = document.getElementById("slide-opacity");
    this.opacity.addEventListener("input", () => this.fade());
    for (const button of document.querySelectorAll("#slide-tools [data-zoom]")) {
      button.addEventListener("click", () => this.zoom(button.dataset.zoom));
    }
    this.turn = 0;
    this.viewer = OpenSeadragon({
      element: this.element, showNavigationControl: false, showNavigator: false, drawer: "canvas",
      animationTime: 0.4, maxZoomPixelRatio: 4, visibilityRatio: 0.3, imageSmoothingEnabled: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true }, immediateRender: true,
    });
    this.viewer.canvas.setAttribute("aria-label", "Slide: arrow keys move it, plus and minus zoom");
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.addHandler("canvas-key", (event) => this.press(event));
    for (const event of ["animation", "open", "resize"]) this.viewer.addHandler(event, () => this.drawBar());
  }

  async show(key, method) {
    const turn = ++this.turn;
    this.clear(key ? "Loading …" : "No slide of this patient");
    if (!key) return null;
    const query = { modality: method.modality, aggregator: method.aggregator, layer: method.layer };
    try {
      const facts = await getJson(withQuery(pathOf("slide", key, "info.json"), query));
      if (turn !== this.turn) return null;
      if (facts.absent) {
        this.absent.textContent = facts.absent;
        return null;
      }
      this.open(key, facts, query);
      return facts;
    } catch (error) {
      if (turn === this.turn) this.absent.textContent = error.message;
      return null;
    }
  }

  clear(words) {
    this.viewer.close();
    this.heat = null;
    this.facts = null;
    this.absent.textContent = words;
    this.absent.hidden = false;
    this.element.hidden = true;
    this.bar.hidden = true;
    this.note.textContent = "";
  }

  open(key, facts, query) {
    this.facts = facts;
    this.absent.hidden = true;
    this.element.hidden = false;
    this.note.textContent = notesOf(facts, query.layer);
    this.viewer.addTiledImage({ tileSource: source(facts, (place) => pathOf("slide", key, "picture", ...place)) });
    this.viewer.world.addOnceHandler("add-item", () => this.viewer.viewport.goHome(true));
    if (!isPainted(facts, query.layer)) return;
    const turn = this.turn;
    this.viewer.addTiledImage({
      tileSource: source(facts, (place) => withQuery(pathOf("slide", key, "heat", ...place), query)),
      opacity: this.opacity.value / 100,
      success: (event) => {
        if (turn !== this.turn) return;
        this.heat = event.item;
        this.fade();
      },
    });
  }

  fade() {
    document.getElementById("slide-opacity-out").textContent = `${this.opacity.value} %`;
    this.heat?.setOpacity(this.opacity.value / 100);
  }

  zoom(how) {
    const viewport = this.viewer.viewport;
    if (!this.facts) return;
    if (how === "home") viewport.goHome();
    else if (how === "focus") this.goToFocus();
    else {
      viewport.zoomBy(Number(how));
      viewport.applyConstraints();
    }
  }

  press(event) {
    const key = event.originalEvent.key;
    if (key === "+" || key === "=") this.zoom("2");
    else if (key === "-" || key === "_") this.zoom("0.5");
    // A slide turned or mirrored by a slip of the finger is read wrongly.
    else if (!"rfjk".includes(key.toLowerCase())) return;
    event.preventDefaultAction = true;
  }

  goToFocus() {
    if (!this.facts.heat) return;
    const [x, y] = this.facts.heat.focus.map((um) => um / this.facts.mpp / this.facts.width);
    const side = FOCUS_UM / this.facts.mpp / this.facts.width;
    this.viewer.viewport.fitBounds(new OpenSeadragon.Rect(x - side / 2, y - side / 2, side, side));
  }

  drawBar() {
    const item = this.viewer.world.getItemAt(0);
    if (!item || !this.facts) return;
    const pixels = item.viewportToImageZoom(this.viewer.viewport.getZoom(true));
    const umAPixel = this.facts.mpp / pixels;
    const room = 110 * umAPixel;
    const power = 10 ** Math.floor(Math.log10(room));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= room);
    this.bar.style.width = `${length / umAPixel}px`;
    this.bar.firstElementChild.textContent = length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(1))} µm`;
    this.bar.hidden = false;
  }
}

function source(facts, pathOfTile) {
  return {
    width: facts.width, height: facts.height, tileSize: facts.tile, tileOverlap: 0,
    minLevel: facts.first_level, maxLevel: facts.last_level,
    getTileUrl: (level, column, row) => pathOfTile([level, column, row]),
  };
}
