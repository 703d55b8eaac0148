// Thumbnails come in packs: where the view rests, visible ones first, two requests at a time, 2,000 kept.

import { blobsOf } from "./api.js";

const PACK = 24;
const IN_FLIGHT = 2;
const KEPT = 2000;
const REST = 60; // milliseconds
const AGAIN = 2000;

const addresses = new Map(); // id → address of a blob, or null where there is no picture; the latest used last
const asked = new Set();
let wanted = [];
let flying = 0;
let timer = 0;
let tell = () => {};

export function onThumbnail(f) {
  tell = f;
}

export function cached(id) {
  if (!addresses.has(id)) return undefined;
  const address = addresses.get(id);
  addresses.delete(id);
  addresses.set(id, address);
  return address;
}

// Ask for these ids and for no others any more, once nothing has changed for a moment.
export function want(ids) {
  wanted = ids.filter((id) => !addresses.has(id));
  clearTimeout(timer);
  timer = setTimeout(send, REST);
}

export function forgetAll() {
  for (const address of addresses.values()) if (address) URL.revokeObjectURL(address);
  addresses.clear();
}

async function send() {
  while (flying < IN_FLIGHT) {
    const pack = wanted.filter((id) => !asked.has(id) && !addresses.has(id)).slice(0, PACK);
    if (!pack.length) return;
    for (const id of pack) asked.add(id);
    flying += 1;
    load(pack);
  }
}

async function load(pack) {
  try {
    const blobs = await blobsOf(pack);
    pack.forEach((id, i) => keep(id, blobs[i] ? URL.createObjectURL(blobs[i]) : null));
    done(pack);
    send();
  } catch {
    done(pack);
    clearTimeout(timer);
    timer = setTimeout(send, AGAIN); // they are wanted still
  }
}

function done(pack) {
  for (const id of pack) asked.delete(id);
  flying -= 1;
}

function keep(id, address) {
  addresses.set(id, address);
  tell(id, address);
  for (const old of addresses.keys()) {
    if (addresses.size <= KEPT) break;
    const gone = addresses.get(old);
    if (gone) URL.revokeObjectURL(gone);
    addresses.delete(old);
  }
}
