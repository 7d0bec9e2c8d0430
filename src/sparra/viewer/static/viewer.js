// The page: which method, which patient, and everything that follows from them.

import { CtPane } from "./ct.js";
import { showFollowUp } from "./follow_up.js";
import { PatientList } from "./patients.js";
import { getJson, pathOf } from "./request.js";
import { SlidePane } from "./slide.js";

const byId = (id) => document.getElementById(id);
const state = { study: null, method: null, patients: [], curves: {}, patient: null, turns: { slide: 0, ct: 0 } };
const list = new PatientList((id) => choosePatient(id, true));
const panes = { slide: new SlidePane(), ct: new CtPane() };

async function start() {
  state.study = await getJson("/study.json");
  document.title = `${state.study.name} – SPARRA viewer`;
  byId("study").textContent = state.study.name;
  byId("note").textContent = state.study.note;
  byId("report").hidden = !state.study.report;
  state.study.methods.forEach((method, i) => byId("method").add(new Option(method.name, i)));
  byId("method").value = state.study.method;
  byId("method").addEventListener("change", () => chooseMethod().catch(tell));
  byId("layer").addEventListener("change", () => ["slide", "ct"].forEach((kind) => showImage(kind).catch(tell)));
  byId("model").addEventListener("change", () => rank().catch(tell));
  for (const kind of ["slide", "ct"]) byId(`${kind}-which`).addEventListener("change", () => showImage(kind).catch(tell));
  window.addEventListener("hashchange", () => choosePatient(fromAddress(), false));
  drawLegends();
  await chooseMethod();
}

async function chooseMethod() {
  state.method = state.study.methods[Number(byId("method").value)];
  const names = state.method.models.map((name) => new Option(name === "network" ? "the network itself" : name, name));
  byId("model").replaceChildren(...names);
  await rank();
}

async function rank() {
  const { modality, aggregator } = state.method;
  const found = await getJson(pathOf("patients", modality, aggregator, byId("model").value));
  state.patients = found.patients;
  state.curves = found.curves;
  list.show(state.patients);
  const wanted = state.patient?.subject_id ?? fromAddress();
  const known = state.patients.some((patient) => patient.subject_id === wanted);
  choosePatient(known ? wanted : state.patients[0]?.subject_id, false);
}

function choosePatient(id, byHand) {
  const patient = state.patients.find((candidate) => candidate.subject_id === id);
  if (!patient) return;
  state.patient = patient;
  list.mark(id);
  byId("patient-name").textContent = id;
  showFollowUp(patient, state.curves, state.study.time_unit);
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  if (byHand) byId("status").textContent = `Showing ${id}`;
  for (const kind of ["slide", "ct"]) {
    offer(kind, patient.images.filter((image) => image.modality === kind));
    showImage(kind).catch(tell);
  }
}

function offer(kind, images) {
  const which = byId(`${kind}-which`);
  which.replaceChildren(...images.map((image, i) => new Option(`${i + 1} of ${images.length}`, image.key)));
  which.parentElement.hidden = images.length < 2;
}

async function showImage(kind) {
  const legend = byId(`${kind}-legend`);
  legend.hidden = true;
  const layer = byId("layer").value;
  const turn = ++state.turns[kind];
  const facts = await panes[kind].show(byId(`${kind}-which`).value, { ...state.method, layer });
  // Another image was asked for meanwhile: this one has nothing to say any more.
  if (turn !== state.turns[kind]) return;
  const highest = layer === "sd" ? facts?.heat?.highest_sd : facts?.heat?.highest;
  byId(`${kind}-tools`).hidden = !facts;
  showVerdict(kind, facts?.heat ? state.method.verdicts[kind] : null);
  if (highest == null) return;
  legend.hidden = false;
  const what = layer === "sd" ? `SD (${facts.heat.spread})` : "of the importance";
  legend.lastElementChild.textContent = `0 to ${percent(highest)} ${what}, a node`;
}

// A map that failed its checks says so on its face.
function showVerdict(kind, verdict) {
  const text = byId(`${kind}-verdict`);
  text.hidden = !verdict;
  if (!verdict) return;
  text.className = `verdict ${verdict.verdict}`;
  text.textContent = verdict.sentence;
}

function percent(share) {
  return `${Number((100 * share).toPrecision(2))} %`;
}

function drawLegends() {
  for (const canvas of document.querySelectorAll(".legend canvas")) {
    const pen = canvas.getContext("2d");
    state.study.colours.forEach(([red, green, blue], i) => {
      pen.fillStyle = `rgb(${red} ${green} ${blue})`;
      pen.fillRect(i, 0, 1, 1);
    });
  }
}

function fromAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function tell(error) {
  const status = byId("status");
  status.textContent = error.message;
  status.className = "error";
}

start().catch(tell);
