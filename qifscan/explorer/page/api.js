// Questions to the server: binary answers, kept; what nobody waits for any longer is cancelled.

let token = null;

/** A token comes in the fragment, is kept in memory, and leaves the address bar. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  token = given.get("token");
  if (token !== null) {
    given.delete("token");
    history.replaceState(null, "", `#${given}`);
  }
}

export const withToken = (headers) => (token === null ? headers : { ...headers, Authorization: `Bearer ${token}` });

/** What a link to another page of ours needs: the token does not travel by itself. */
export const tokenFragment = () => (token === null ? "" : `#token=${encodeURIComponent(token)}`);

const KEPT = 1 << 27; // bytes
const kept = new Map();
let bytes = 0;

/** How many questions are open, and what was asked and cancelled: for tests and measurements. */
export const traffic = { open: 0, asked: 0, cancelled: 0, names: [] };

export class Refused extends Error {}

/** The answer to a request; the same one twice is asked once. */
export async function ask(name, request = {}, signal = undefined) {
  const query = `${name}?ask=${encodeURIComponent(JSON.stringify(request))}`;
  const known = name === "progress" ? undefined : kept.get(query);
  if (known) return known;
  const begin = performance.now();
  const headers = withToken({});
  traffic.open++;
  traffic.asked++;
  traffic.names.push(name);
  let answer;
  try {
    const response = await fetch(query, { signal, headers, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    const body = await response.arrayBuffer();
    answer = { ...unpacked(body), bytes: body.byteLength };
  } catch (error) {
    if (error.name === "AbortError") traffic.cancelled++;
    throw error;
  } finally {
    traffic.open--;
  }
  answer.took = performance.now() - begin;
  keep(query, answer);
  return answer;
}

function keep(query, answer) {
  kept.set(query, answer);
  bytes += answer.bytes;
  for (const [oldest, { bytes: size }] of kept) {
    if (bytes <= KEPT) break;
    kept.delete(oldest);
    bytes -= size;
  }
}

/** Forget what a run that goes on has made old. */
export function forget() {
  kept.clear();
  bytes = 0;
}

async function refusal(response) {
  let detail = `${response.status} ${response.statusText}`;
  try { detail = (await response.json()).detail ?? detail; } catch { /* no JSON: the status says it */ }
  return Object.assign(new Refused(detail), { status: response.status });
}

/** Submit a scan, as the text of a TOML file, to the service that this page is part of; returns its job. */
export async function submitted(toml, root = "") {
  const response = await fetch(`${root}processes/scan/execution`, {
    method: "POST",
    headers: withToken({ "content-type": "application/json", accept: "application/json", prefer: "respond-async" }),
    body: JSON.stringify({ inputs: { scan: toml } }),
  });
  const body = await response.json();
  if (!response.ok) throw new Refused((body.errors ?? [body.detail ?? response.statusText]).join("\n"));
  return body;
}

const TYPES = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array };

/** Bytes as made by `wire.packed`: the header, its arrays as typed arrays under their names. */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  for (const { name, type, shape, offset } of answer.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = new TYPES[type](buffer, 4 + length + offset, count);
    values.shape = shape;
    answer[name] = values;
  }
  return answer;
}

/** Run only the newest of many calls: while one is under way the last of the others waits, and one that takes
 * longer than `patience` ms is cancelled for it. */
export function newest(work, failed, patience = 250) {
  let controller = null, waiting = null, timer = 0;
  async function run(argument) {
    controller = new AbortController();
    const own = controller;
    try {
      await work(argument, own.signal);
    } catch (error) {
      if (error.name !== "AbortError" && !own.signal.aborted) failed(error);
    }
    clearTimeout(timer);
    controller = null;
    if (waiting !== null) {
      const [next] = waiting;
      waiting = null;
      run(next);
    }
  }
  return (argument) => {
    if (controller === null) return void run(argument);
    waiting = [argument];
    clearTimeout(timer);
    timer = setTimeout(() => controller?.abort(), patience);
  };
}
