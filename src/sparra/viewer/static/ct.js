// The CT, slice by slice, with importance and the tumour's outline above.

import { Pictures, getJson, isPainted, notesOf, pathOf, withQuery } from "./request.js";

// Level and width in HU.
const WINDOWS = {
  "Soft tissue": [40, 400], "Kidney and liver": [60, 200], Lung: [-600, 1500], Bone: [400, 1800], "All values": [200, 2400],
};
const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 };
const WHEEL_PX = 60;
const AHEAD = 3;

export class CtPane {
  constructor() {
    this.canvas = document.getElementById("ct");
    this.pen = this.canvas.getContext("2d");
    this.absent = document.getElementById("ct-absent");
    this.note = document.getElementById("ct-note");
    this.slider = document.getElementById("slice");
    this.plane = document.getElementById("plane");
    this.window = document.getElementById("window");
    this.opacity = document.getElementById("ct-opacity");
    this.outline = document.getElementById("outline");
    for (const name of Object.keys(WINDOWS)) this.window.add(new Option(name, name));
    this.pictures = new Pictures(120);
    this.turn = 0;
    this.rolled = 0;
    this.listen();
  }

  listen() {
    this.slider.addEventListener("input", () => this.draw());
    this.plane.addEventListener("change", () => this.turnTo(this.plane.value));
    this.window.addEventListener("change", () => this.draw());
    this.outline.addEventListener("change", () => this.draw());
    this.opacity.addEventListener("input", () => this.paint());
    document.getElementById("ct-focus").addEventListener("click", () => this.goToFocus());
    this.canvas.addEventListener("wheel", (event) => this.roll(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.step(STEPS[event.key]);
    });
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      from = { y: event.clientY, slice: Number(this.slider.value) };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (from && event.buttons) this.go(from.slice + Math.round((from.y - event.clientY) / 6));
    });
    new ResizeObserver(() => this.fit()).observe(document.getElementById("ct-stage"));
  }

  async show(key, method) {
    const turn = ++this.turn;
    this.facts = null;
    this.drawn = null;
    this.hide(key ? "Loading …" : "No CT of this patient");
    if (!key) return null;
    this.key = key;
    this.query = { modality: method.modality, aggregator: method.aggregator, layer: method.layer };
    try {
      const facts = await getJson(withQuery(pathOf("ct", key, "info.json"), this.query));
      if (turn !== this.turn) return null;
      if (facts.absent) {
        this.hide(facts.absent);
        return null;
      }
      this.facts = facts;
      this.note.textContent = notesOf(facts, method.layer);
      this.places = facts.heat ? { ...facts.heat.focus } : middle(facts.planes);
      this.outline.disabled = !facts.outline;
      document.getElementById("ct-focus").disabled = !facts.heat;
      this.turnTo(this.plane.value);
      return facts;
    } catch (error) {
      if (turn === this.turn) this.hide(error.message);
      return null;
    }
  }

  hide(words) {
    this.canvas.hidden = true;
    this.absent.hidden = false;
    this.absent.textContent = words;
    this.note.textContent = "";
    document.getElementById("ct-where").textContent = "";
    for (const side of ["left", "top"]) document.querySelector(`#ct-stage .edge.${side}`).textContent = "";
    this.slider.max = 0;
    document.getElementById("slice-out").textContent = "";
  }

  turnTo(plane) {
    if (!this.facts) return;
    this.geometry = this.facts.planes[plane];
    this.slider.max = this.geometry.slices - 1;
    this.slider.value = this.places[plane];
    ["left", "top"].forEach((side, i) => {
      document.querySelector(`#ct-stage .edge.${side}`).textContent = this.geometry.edges[i];
    });
    this.fit();
    this.draw();
  }

  goToFocus() {
    if (!this.facts?.heat) return;
    this.places = { ...this.facts.heat.focus };
    this.turnTo(this.plane.value);
  }

  roll(event) {
    if (event.ctrlKey) return;
    event.preventDefault();
    // A notch of a mouse wheel comes in lines or in some hundred pixels, a touchpad's roll in many small steps.
    this.rolled += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_PX;
    const steps = Math.trunc(this.rolled / WHEEL_PX);
    this.rolled -= steps * WHEEL_PX;
    if (steps) this.step(-Math.sign(steps) * Math.min(Math.abs(steps), 2));
  }

  step(by) {
    this.go(Number(this.slider.value) + by);
  }

  go(slice) {
    const wanted = Math.max(0, Math.min(Number(this.slider.max), slice));
    if (wanted === Number(this.slider.value)) return;
    this.slider.value = wanted;
    this.draw();
  }

  layers(index) {
    const plane = this.plane.value;
    const [level, width] = WINDOWS[this.window.value];
    const paths = [withQuery(pathOf("ct", this.key, "picture", plane, index), { level, width })];
    paths.push(isPainted(this.facts, this.query.layer) ? withQuery(pathOf("ct", this.key, "heat", plane, index), this.query) : null);
    paths.push(this.facts.outline && this.outline.checked ? pathOf("ct", this.key, "outline", plane, index) : null);
    return paths;
  }

  async draw() {
    if (!this.facts) return;
    const turn = ++this.turn;
    const index = Number(this.slider.value);
    this.places[this.plane.value] = index;
    const count = this.geometry.slices;
    document.getElementById("slice-out").textContent = `${index + 1} of ${count}`;
    const name = this.plane.selectedOptions[0].text;
    this.canvas.setAttribute("aria-label", `${name} CT slice ${index + 1} of ${count}; arrow keys and wheel scroll`);
    this.slider.setAttribute("aria-valuetext", `slice ${index + 1} of ${count}`);
    try {
      const drawn = await Promise.all(this.layers(index).map((path) => path && this.pictures.get(path)));
      if (turn !== this.turn) return;
      this.drawn = drawn;
      this.paint();
      this.canvas.dataset.slice = index;
      document.getElementById("ct-where").textContent = `${name}, slice ${index + 1} of ${count}`;
      this.fetchAhead(index);
    } catch (error) {
      if (turn === this.turn) this.hide(error.message);
    }
  }

  paint() {
    document.getElementById("ct-opacity-out").textContent = `${this.opacity.value} %`;
    if (!this.drawn) return;
    const [picture, heat, outline] = this.drawn;
    this.canvas.width = picture.width;
    this.canvas.height = picture.height;
    this.pen.drawImage(picture, 0, 0);
    this.pen.globalAlpha = this.opacity.value / 100;
    if (heat) this.pen.drawImage(heat, 0, 0);
    this.pen.globalAlpha = 1;
    if (outline) this.pen.drawImage(outline, 0, 0);
    this.canvas.hidden = false;
    this.absent.hidden = true;
    this.fit();
  }

  // As large as the stage allows, in true proportions of mm.
  fit() {
    if (!this.geometry) return;
    const stage = document.getElementById("ct-stage");
    const width = this.geometry.width * this.geometry.spacing_mm[0];
    const height = this.geometry.height * this.geometry.spacing_mm[1];
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    this.canvas.style.width = `${width * scale}px`;
    this.canvas.style.height = `${height * scale}px`;
  }

  fetchAhead(index) {
    for (let by = 1; by <= AHEAD; by++) {
      for (const next of [index + by, index - by]) {
        if (next < 0 || next >= this.geometry.slices) continue;
        for (const path of this.layers(next)) if (path) this.pictures.get(path).catch(() => {});
      }
    }
  }
}

function middle(planes) {
  return Object.fromEntries(Object.entries(planes).map(([name, plane]) => [name, Math.floor(plane.slices / 2)]));
}
