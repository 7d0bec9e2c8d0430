// What became of a patient, and where it stands on the curve of its risk group.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { left: 40, right: 450, top: 10, bottom: 158 };
const COLOURS = { low: "#00609a", high: "#9c3d00" };

export function showFollowUp(patient, curves, unit) {
  const survival = patient.group && curves[patient.group] ? survivalAt(curves[patient.group], patient.time) : null;
  const facts = [
    ["Follow-up", `${number(patient.time)} ${unit}`],
    ["Outcome", patient.event ? "event" : "no event (censored)"],
    ["Risk percentile", patient.percentile.toFixed(0)],
    ["Risk group", patient.group ?? "–"],
    ["Tested in fold", String(patient.fold)],
    ["Survival of its group then", survival === null ? "–" : `${(100 * survival).toFixed(0)} %`],
  ];
  document.getElementById("facts").replaceChildren(...facts.map(factOf));
  drawCurves(patient, curves, unit, survival);
}

function factOf([name, value]) {
  const box = document.createElement("div");
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  box.append(term, text);
  return box;
}

function drawCurves(patient, curves, unit, survival) {
  const svg = document.getElementById("curves");
  const longest = Math.max(patient.time, ...Object.values(curves).flatMap((curve) => curve.time.slice(-1)));
  const x = (time) => BOX.left + ((BOX.right - BOX.left) * time) / longest;
  const y = (share) => BOX.bottom - (BOX.bottom - BOX.top) * share;
  const parts = [line(BOX.left, BOX.bottom, BOX.right, BOX.bottom), line(BOX.left, BOX.top, BOX.left, BOX.bottom)];
  for (const share of [0, 0.5, 1]) parts.push(words(BOX.left - 6, y(share) + 4, `${100 * share} %`, "end"));
  for (const time of ticks(longest)) parts.push(words(x(time), BOX.bottom + 16, number(time), "middle"));
  parts.push(words((BOX.left + BOX.right) / 2, BOX.bottom + 30, `Follow-up (${unit})`, "middle"));
  let label = 0;
  for (const [group, curve] of Object.entries(curves)) {
    parts.push(stepLine(curve, x, y, COLOURS[group]));
    const text = words(BOX.right, BOX.top + 12 + 14 * label++, `${group} risk`, "end");
    text.setAttribute("fill", COLOURS[group]);
    parts.push(text);
  }
  if (survival !== null) parts.push(mark(x(patient.time), y(survival), patient));
  svg.replaceChildren(...parts);
  const outcome = patient.event ? "the event" : "censoring";
  const place = survival === null
    ? "This patient has no risk group."
    : `The ${patient.event ? "filled" : "hollow"} mark is this patient, at ${outcome} on the curve of its group.`;
  document.getElementById("curves-caption").textContent = place;
  const ends = Object.entries(curves).map(([group, c]) => `${group} risk ends at ${(100 * c.survival.at(-1)).toFixed(0)} %`);
  svg.setAttribute("aria-label", `Kaplan–Meier curves out-of-fold: ${ends.join(", ")}. ${place}`);
}

function survivalAt(curve, time) {
  let share = 1;
  for (let i = 0; i < curve.time.length && curve.time[i] <= time; i++) share = curve.survival[i];
  return share;
}

function stepLine(curve, x, y, colour) {
  let path = "";
  curve.time.forEach((time, i) => {
    path += i ? `H${x(time).toFixed(1)}V${y(curve.survival[i]).toFixed(1)}` : `M${x(time)} ${y(curve.survival[i])}`;
  });
  return shape("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2 });
}

function mark(x, y, patient) {
  const colour = COLOURS[patient.group];
  return shape("circle", {
    cx: x.toFixed(1), cy: y.toFixed(1), r: 6, stroke: colour, "stroke-width": 2.5, fill: patient.event ? colour : "#fff",
  });
}

function line(x1, y1, x2, y2) {
  return shape("line", { x1, y1, x2, y2, stroke: "#6b7780" });
}

function words(x, y, text, anchor) {
  const element = shape("text", { x: x.toFixed(1), y, "text-anchor": anchor, fill: "#1f2933" });
  element.textContent = text;
  return element;
}

function shape(name, values) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
  return element;
}

function ticks(longest) {
  const room = longest / 4;
  const power = 10 ** Math.floor(Math.log10(room));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= room);
  return Array.from({ length: Math.floor(longest / step) + 1 }, (_, i) => i * step);
}

function number(value) {
  return Number(value.toPrecision(4)).toString();
}
