// What is looked at: one object that every panel follows, and that is in the address bar.

const listeners = [];

export const view = {
  variable: null, x: null, y: null, index: {}, second: null, changed: {}, mean: false,
  along: null, time: 100, start: "scan", starts: [], drive: "scan", noise: false, seed: 0, replay: true,
  scale: "viridis", log: false, percent: false, hidden: [], curves: true, follow: null, facet: null, window: null, dark: null, levels: null,
};

/** Follow changes: `react(keys)` is called with a set of what has changed. */
export const follow = (react) => listeners.push(react);

export function change(changes) {
  const keys = new Set(Object.keys(changes).filter((key) => JSON.stringify(view[key]) !== JSON.stringify(changes[key])));
  Object.assign(view, changes);
  if (keys.size === 0) return;
  write();
  listeners.forEach((react) => react(keys));
}

let base = {};

/** Read the address over the values to begin with; what is as it was at first is not in the address. */
export function begin(defaults) {
  Object.assign(view, defaults);
  base = structuredClone(view);
  read();
  addEventListener("hashchange", () => {
    const before = structuredClone(view);
    Object.assign(view, structuredClone(base));
    read();
    const keys = new Set(Object.keys(view).filter((key) => JSON.stringify(view[key]) !== JSON.stringify(before[key])));
    if (keys.size) listeners.forEach((react) => react(keys));
  });
}

function read() {
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!(key in view)) continue;
    try {
      const value = JSON.parse(text);
      const old = base[key];
      const isMap = old !== null && typeof old === "object" && !Array.isArray(old);
      view[key] = isMap ? { ...old, ...value } : value;
    } catch { /* an address that was written by hand: the rest of it counts */ }
  }
}

let writing = 0;
function write() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const text = new URLSearchParams();
    for (const key of Object.keys(base)) {
      if (JSON.stringify(view[key]) !== JSON.stringify(base[key])) text.set(key, JSON.stringify(view[key]));
    }
    history.replaceState(null, "", `#${text}`);
  }, 80);
}

/** The place of the first or second point, as a request takes it. */
export const placed = (index = view.index) => ({ index, changed: view.changed });
