// Questions to the server. A failure is an Error with the sentence that the server said.

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("the server does not answer; is `curator web` still running?"), { isGone: true });
  }
  if (response.ok) return response;
  const said = await response.text();
  let error = said.slice(0, 300) || `the server answered ${response.status}`;
  try { error = JSON.parse(said).error; } catch { /* the guard answers in plain words */ }
  throw new Error(error);
}

export async function get(path, parameters = {}, options = {}) {
  return (await ask(withQuery(path, parameters), options)).json();
}

let before = Promise.resolve();

// Changes are sent one after the other, in the order in which they were made.
export function post(path, body) {
  const headers = { "content-type": "application/json" };
  const sent = before.then(async () => (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json());
  before = sent.catch(() => {});
  return sent;
}

export async function sendPicture(blob) {
  const headers = { "content-type": "application/octet-stream" };
  return (await ask("/api/picture", { method: "POST", headers, body: blob })).json();
}

export async function blobsOf(ids) {
  const data = await (await ask(withQuery("/thumbs", { ids: ids.join(",") }))).arrayBuffer();
  const view = new DataView(data);
  const count = view.getUint32(0, true);
  let start = 4 * (count + 1);
  const blobs = [];
  for (let i = 0; i < count; i += 1) {
    const length = view.getUint32(4 * (i + 1), true);
    blobs.push(length ? new Blob([new Uint8Array(data, start, length)]) : null);
    start += length;
  }
  return blobs;
}

// Facts in words, and arrays by name.
export async function packed(path, parameters, signal) {
  const headers = { accept: "application/octet-stream" };
  const data = await (await ask(withQuery(path, parameters), { headers, signal })).arrayBuffer();
  const length = new DataView(data).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let start = 4 + length;
  for (const { name, type, length: n } of facts.arrays) {
    if (type === "d") facts[name] = new Float64Array(data.slice(start, start + 8 * n)); // ids of sets
    else facts[name] = type === "f" ? new Float32Array(data, start, n) : new Int32Array(data, start, n);
    start += (type === "d" ? 8 : 4) * n;
  }
  return facts;
}

export const list = (parameters, signal) => packed("/api/list", parameters, signal);

export function withQuery(path, parameters) {
  const pairs = Object.entries(parameters).filter(([, v]) => v !== "" && v !== null && v !== undefined);
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}
