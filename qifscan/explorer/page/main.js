// The page: reads what is opened, builds the panels, and lets them follow the view.

import { ask, forget, takeToken, traffic } from "./api.js";
import { theme } from "./colours.js";
import { controls } from "./controls.js";
import { DiagramPanel } from "./diagram.js";
import { copy, save, savePicture } from "./export.js";
import { Facets } from "./facets.js";
import { MapPanel } from "./map.js";
import { redrawAll } from "./plot.js";
import { PointPanel } from "./point.js";
import { RefineDialog } from "./refine.js";
import { symbol } from "./scales.js";
import { begin, change, follow, placed, view } from "./view.js";

const get = (id) => document.getElementById(id);
const LIVE = 2000; // ms between two looks at a run that goes on

let fading = 0;
function say(text) {
  const box = get("say");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => box.classList.remove("shown"), 3500);
}

function defaults(about) {
  const [x = null, y = null] = about.plane;
  const index = Object.fromEntries(about.axes.map((a) => [a.name, a.name === x || a.name === y ? Math.floor(a.size / 2) : 0]));
  const along = x ?? about.model.graph ?? about.fixed.find((p) => p.of_model)?.name;
  const tau = about.noisy.length ? 200 : 50;
  return { variable: about.variable, x, y, index, along, time: tau, start: about.start, noise: about.noisy.length > 0, dark: matchMedia("(prefers-color-scheme: dark)").matches };
}

async function start() {
  takeToken();
  let about;
  try {
    about = await ask("about");
  } catch (error) {
    get("title").textContent = error.status === 404 ? "Not there yet" : "This can't be opened";
    get("subtitle").textContent = error.message;
    // A scan that was just submitted has its store in a moment.
    if (error.status === 404) setTimeout(start, LIVE);
    return;
  }
  document.title = `${about.title} · qifscan explorer`;
  get("title").textContent = about.title;
  get("subtitle").textContent = `${written(about.model.meaning)}   ·   ${about.protocol}`;
  get("subtitle").title = about.model.reference;
  begin(defaults(about));
  setDark();
  const names = about.model.variables.map((v) => symbol(v.name));
  const makePoint = (which) => {
    const root = get("point").content.firstElementChild.cloneNode(true);
    root.querySelector("[data-null-r]").textContent = `${names[0]}′ = 0`;
    root.querySelector("[data-null-v]").textContent = `${names[1]}′ = 0`;
    get("points").append(root);
    return new PointPanel(root, about, say, which);
  };
  const map = new MapPanel(get("map"), about, say);
  const diagram = new DiagramPanel(get("diagram"), about, say);
  const points = { A: makePoint("A"), B: null };
  const facets = new Facets(get("facets"), map, about);
  controls(about);
  const refine = new RefineDialog(get("refine"), about, say);
  map.onBox = (box) => refine.open(map, box);
  // The colours of small maps are those of the map, whose range has then come.
  map.onLoaded = () => facets.recolour();
  map.onChosen = () => points.A.chosen();
  const react = (keys) => {
    if (keys.has("dark")) setDark();
    if (keys.has("second")) showSecond(points, makePoint);
    map.react(keys);
    facets.react(keys);
    diagram.react(keys);
    points.A.react(keys);
    points.B?.react(keys);
  };
  follow(react);
  get("noise-label").title = about.noisy.length ? `noise on ${about.noisy.join(", ")}, seed of the trajectory ${view.seed}` : "the scan has no noise: raise σ among the sliders";
  showSecond(points, makePoint);
  map.load(); map.othersMoved(); map.othersMoved(true); map.loadCurves();
  diagram.again();
  points.A.all();
  facets.react(new Set());
  buttons(about, { map, diagram, points });
  keyboard(about, map);
  live(about, map, diagram, react);
  // For tests and for the console: what is shown, and how long it took.
  window.explorer = { about, view, change, map, diagram, points, facets, ask, traffic, forget };
}

/** Equations as one writes them. */
function written(text) {
  const letters = { tau: "τ", delta: "Δ", eta: "η", alpha: "α", pi: "π" };
  return text.replace(/\b(tau|delta|eta|alpha|pi)(?=\b|_)/g, (name) => letters[name]).replace(/\^2/g, "²").replace(/-/g, "−").replace(/'/g, "′");
}

function showSecond(points, makePoint) {
  get("points").classList.toggle("two", view.second !== null);
  if (view.second === null) {
    points.B?.root.remove();
    points.B = null;
  } else if (!points.B) {
    points.B = makePoint("B");
    points.B.all();
  }
  points.A.title();
}

function setDark() {
  document.documentElement.dataset.theme = view.dark ? "dark" : "light";
  theme();
  redrawAll();
  window.explorer?.map.recolour();
}

function buttons(about, panels) {
  const request = () => ({ ...placed(), variable: view.variable, x: view.x, y: view.y, along: view.along });
  const copied = async (name, what) => {
    try {
      await copy((await ask(name, request())).text);
      say(`${what} copied`);
    } catch (error) { say(error.message); }
  };
  get("python").onclick = () => copied("script", "Python");
  get("toml").onclick = () => copied("toml", "TOML");
  get("png").onclick = () => savePicture(about, panels);
  get("svg").onclick = (event) => {
    const plot = event.shiftKey ? panels.diagram.plot : panels.map.plot;
    save(event.shiftKey ? "diagram.svg" : "map.svg", new Blob([plot.svg()], { type: "image/svg+xml" }));
  };
  get("dark").onclick = () => change({ dark: !view.dark });
  get("help").onclick = () => get("keys").showModal();
  for (const tool of ["pan", "box"]) {
    get(tool).onclick = () => setTool(panels.map, tool);
  }
}

function setTool(map, tool) {
  map.plot.tool = map.plot.tool === tool ? "point" : tool;
  for (const name of ["pan", "box"]) get(name).setAttribute("aria-pressed", String(map.plot.tool === name));
  map.plot.canvas.style.cursor = map.plot.tool === "pan" ? "grab" : "crosshair";
}

function keyboard(about, map) {
  const step = (name, by) => {
    const axis = about.axes.find((a) => a.name === name);
    if (axis) change({ index: { ...view.index, [name]: Math.max(0, Math.min(axis.size - 1, view.index[name] + by)) } });
  };
  const able = (name) => name && !about.axes.find((a) => a.name === name).text;
  const nextVariable = (by) => {
    const names = about.variables.map((v) => v.name);
    change({ variable: names.at((names.indexOf(view.variable) + by) % names.length) });
  };
  const flags = about.flags.map((f) => f.name).filter((n) => n !== "computed");
  const keys = {
    ArrowLeft: (n) => step(view.x, -n), ArrowRight: (n) => step(view.x, n), ArrowDown: (n) => step(view.y, -n), ArrowUp: (n) => step(view.y, n),
    "+": () => map.plot.zoom(0.7), "=": () => map.plot.zoom(0.7), "-": () => map.plot.zoom(1 / 0.7), 0: () => map.plot.reset(),
    x: () => able(view.x) && change({ along: view.x }), y: () => able(view.y) && change({ along: view.y }),
    v: (n) => nextVariable(n > 1 ? -1 : 1), c: () => get("curves").click(), l: () => get("log").click(),
    f: () => change({ hidden: view.hidden.length ? [] : flags }), d: () => change({ dark: !view.dark }), n: () => change({ noise: !view.noise }),
    m: () => { const names = [null, ...Facets.able(about)]; change({ facet: names[(names.indexOf(view.facet) + 1) % names.length] }); },
    p: () => setTool(map, "pan"), b: () => setTool(map, "box"), "?": () => get("keys").showModal(),
    Escape: () => change({ second: null, starts: [], follow: null }),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!(key in keys)) return;
    event.preventDefault();
    keys[key](event.shiftKey ? 10 : 1);
  });
}

/** While the run goes on: look for finished chunks, and draw the map again when there are more. */
function live(about, map, diagram, react) {
  const bar = get("progress");
  const show = ({ done, chunks }) => {
    bar.hidden = chunks > 0 && done === chunks;
    bar.querySelector("progress").value = chunks ? done / chunks : 0;
    bar.querySelector("span").textContent = chunks ? `${done} of ${chunks} chunks` : "not run yet: exact theory alone";
  };
  show(about);
  if (about.chunks && about.done === about.chunks) return;
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      const now = await ask("progress");
      if (now.chunks && !about.chunks) return void location.reload();
      show(now);
      if (now.done === about.done) return;
      about.done = now.done;
      forget();
      map.load();
      diagram.again();
      react(new Set(["facet"]));
      if (now.done === now.chunks) clearInterval(timer);
    } catch { /* the server is busy or gone: the next look tells */ }
  }, LIVE);
}

start();
