// Answers of the server, and a few pictures kept in memory.

export async function getJson(path, signal) {
  const response = await fetch(path, { signal });
  if (!response.ok) throw new Error(await explain(response));
  return response.json();
}

export function pathOf(...segments) {
  return "/" + segments.map((segment) => encodeURIComponent(segment)).join("/");
}

export function withQuery(path, values) {
  return `${path}?${new URLSearchParams(values)}`;
}

// Whether a layer of importance can be laid over an image.
export function isPainted(facts, layer) {
  return facts.heat !== null && (layer !== "sd" || facts.heat.highest_sd !== null);
}

export function notesOf(facts, layer) {
  const lacking = facts.heat && !isPainted(facts, layer) ? `Standard deviation ${facts.heat.spread}.` : "";
  return [facts.note, facts.heat_note, lacking].filter(Boolean).join(" ");
}

async function explain(response) {
  const text = response.status === 422 ? await response.text() : "";
  return text || `The server answered ${response.status}`;
}

// Decoded pictures by address; those unused for longest are let go.
export class Pictures {
  constructor(limit) {
    this.limit = limit;
    this.kept = new Map();
  }

  get(path) {
    let picture = this.kept.get(path);
    if (picture === undefined) {
      picture = this.load(path);
      picture.catch(() => this.kept.delete(path));
    }
    this.kept.delete(path);
    this.kept.set(path, picture);
    while (this.kept.size > this.limit) this.kept.delete(this.kept.keys().next().value);
    return picture;
  }

  async load(path) {
    const response = await fetch(path);
    if (!response.ok) throw new Error(await explain(response));
    return createImageBitmap(await response.blob());
  }
}
