// The list of patients: sorted by any column, searched by id.

const TEXT = new Set(["subject_id", "group"]);

export class PatientList {
  constructor(choose) {
    this.choose = choose;
    this.patients = [];
    this.key = "percentile";
    this.falling = true;
    this.chosen = null;
    this.body = document.getElementById("rows");
    this.search = document.getElementById("search");
    this.search.addEventListener("input", () => this.draw());
    this.heads = [...document.querySelectorAll(".patients th[data-sort]")];
    for (const head of this.heads) {
      head.firstElementChild.addEventListener("click", () => this.sortBy(head.dataset.sort));
    }
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.choose(row.dataset.id);
    });
    this.body.addEventListener("keydown", (event) => this.step(event));
  }

  show(patients) {
    this.patients = patients;
    this.draw();
  }

  mark(id) {
    this.chosen = id;
    for (const row of this.body.rows) row.setAttribute("aria-current", String(row.dataset.id === id));
  }

  sortBy(key) {
    this.falling = key === this.key ? !this.falling : !TEXT.has(key);
    this.key = key;
    this.draw();
  }

  draw() {
    const wanted = this.search.value.trim().toLowerCase();
    const shown = this.patients.filter((patient) => patient.subject_id.toLowerCase().includes(wanted));
    shown.sort((a, b) => compare(a, b, this.key) * (this.falling ? -1 : 1));
    this.body.replaceChildren(...shown.map(rowOf));
    for (const head of this.heads) {
      const order = this.falling ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.sort === this.key ? order : "none");
    }
    document.getElementById("count").textContent = `${shown.length} of ${this.patients.length} patients`;
    this.mark(this.chosen);
  }

  step(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr");
    if (!by || !row) return;
    const next = by > 0 ? row.nextElementSibling : row.previousElementSibling;
    next?.querySelector("button").focus();
    event.preventDefault();
  }
}

function compare(a, b, key) {
  const order = TEXT.has(key) ? String(a[key] ?? "").localeCompare(String(b[key] ?? "")) : Number(a[key]) - Number(b[key]);
  return order || a.subject_id.localeCompare(b.subject_id);
}

function rowOf(patient) {
  const row = document.createElement("tr");
  row.dataset.id = patient.subject_id;
  const head = document.createElement("th");
  head.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = patient.subject_id;
  head.append(button);
  row.append(
    head,
    cell(patient.percentile.toFixed(0), "number"),
    cell(patient.group ?? "–", patient.group ?? ""),
    cell(Number(patient.time.toPrecision(4)).toString(), "number"),
    cell(patient.event ? "yes" : "no", ""),
  );
  return row;
}

function cell(text, name) {
  const element = document.createElement("td");
  element.textContent = text;
  if (name) element.className = name;
  return element;
}
