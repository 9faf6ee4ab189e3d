// What is chosen beside the plots: variable, axes, sliders, start, input, noise.

import { SCALES } from "./colours.js";
import { short, symbol, titled } from "./scales.js";
import { change, follow, view } from "./view.js";

const get = (id) => document.getElementById(id);

export function controls(about) {
  variables(about);
  planes(about);
  get("scale").replaceChildren(...SCALES.map((name) => new Option(name, name)));
  bind("scale");
  for (const name of ["log", "percent", "curves"]) {
    const button = get(name);
    const show = () => button.setAttribute("aria-pressed", String(view[name]));
    button.onclick = () => change({ [name]: !view[name], ...(name === "curves" && view.curves ? { follow: null } : {}) });
    follow(show);
    show();
  }
  runs(about);
  sliders(about);
}

function bind(name, read = (text) => text) {
  const element = get(name);
  const show = () => { element.value = view[name]; };
  element.onchange = () => change({ [name]: read(element.value) });
  follow(show);
  show();
}

function variables(about) {
  const select = get("variable");
  const group = (label, exact) => {
    const made = document.createElement("optgroup");
    made.label = label;
    for (const v of about.variables.filter((v) => v.exact === exact)) {
      const option = new Option(v.short ?? v.name, v.name);
      option.title = v.meaning;
      made.append(option);
    }
    return made;
  };
  select.replaceChildren(...[group("simulated", false), group("exact theory", true)].filter((g) => g.children.length));
  bind("variable");
  const show = () => { select.title = about.variables.find((v) => v.name === view.variable)?.meaning ?? ""; };
  follow(show);
  show();
}

function planes(about) {
  for (const [name, other] of [["x", "y"], ["y", "x"]]) {
    const select = get(name);
    const options = about.axes.map((a) => new Option(symbol(a.name), a.name));
    if (name === "y") options.push(new Option("none", ""));
    select.replaceChildren(...options);
    select.onchange = () => {
      const chosen = select.value || null;
      const swap = chosen === view[other] ? { [other]: view[name] } : {};
      change({ [name]: chosen, ...swap, window: null, along: chosen && !about.axes.find((a) => a.name === chosen).text ? chosen : view.along, second: null });
    };
    const show = () => { select.value = view[name] ?? ""; };
    follow(show);
    show();
  }
}

function runs(about) {
  const names = [["scan", "of the scan"], ["rest", "rest"], ["down", "down"], ["up", "up"]].filter(([value]) => value !== "scan" || about.start === "scan");
  get("start").replaceChildren(...names.map(([value, text]) => new Option(text, value)));
  bind("start");
  const start = get("start");
  start.onchange = () => change({ start: start.value, starts: [] });
  get("time").replaceChildren(...about.times.map((t) => new Option(`${t} ms`, t)));
  bind("time", Number);
  checkbox("noise");
  checkbox("replay");
  get("clear").onclick = () => change({ starts: [] });
  get("single").onclick = () => change({ second: null });
  const show = () => {
    get("clear").hidden = view.starts.length === 0;
    get("single").hidden = view.second === null;
  };
  follow(show);
  show();
  drives(about);
}

function checkbox(name) {
  const box = get(name);
  box.onchange = () => change({ [name]: box.checked });
  const show = () => { box.checked = view[name]; };
  follow(show);
  show();
}

const DRIVES = {
  pulse: { kind: "pulse", amplitude: 3, start: 20, length: 20 },
  sine: { kind: "sine", amplitude: 2, period: 20, phase: 0 },
  ramp: { kind: "ramp", amplitude: 5, start: 20, length: 50 },
  constant: { kind: "constant", amplitude: 1 },
};
const WORDS = { amplitude: "I", start: "from (ms)", length: "for (ms)", period: "period (ms)", phase: "phase" };

function drives(about) {
  const select = get("drive"), numbers = get("drive-numbers");
  const own = about.drive ? [["scan", `of the scan (${about.drive.kind})`], ["none", "none"]] : [["scan", "none"]];
  select.replaceChildren(...[...own, ...Object.keys(DRIVES).map((k) => [k, k])].map(([value, text]) => new Option(text, value)));
  select.onchange = () => change({ drive: select.value === "none" ? null : DRIVES[select.value] ?? "scan" });
  const show = () => {
    select.value = view.drive === null ? "none" : typeof view.drive === "string" ? view.drive : view.drive.kind;
    if (typeof view.drive === "string" || view.drive === null) return void numbers.replaceChildren();
    const wanted = Object.keys(view.drive).filter((k) => k !== "kind");
    if (numbers.dataset.kind !== view.drive.kind || !numbers.children.length) {
      numbers.dataset.kind = view.drive.kind;
      numbers.replaceChildren(...wanted.map((key) => numberOf(key)));
    }
    for (const input of numbers.querySelectorAll("input")) if (input !== document.activeElement) input.value = view.drive[input.name];
  };
  follow(show);
  show();
}

function numberOf(key) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "number", step: "any", name: key });
  input.oninput = () => {
    const value = Number(input.value);
    if (input.value !== "" && Number.isFinite(value)) change({ drive: { ...view.drive, [key]: value } });
  };
  label.append(WORDS[key], input);
  return label;
}

// Sliders

function sliders(about) {
  const root = get("sliders");
  const model = about.fixed.filter((p) => p.of_model);
  const others = about.fixed.filter((p) => !p.of_model);
  const more = document.createElement("button");
  Object.assign(more, { type: "button", id: "more", textContent: "noise and input …" });
  let open = false;
  const build = () => {
    const free = about.axes.filter((a) => a.name !== view.x && a.name !== view.y);
    const shown = [...free.map(axisSlider), ...model.map(fixedSlider)];
    open ||= others.some((p) => p.name in view.changed);
    if (others.length) shown.push(...(open ? others.map(fixedSlider) : [more]));
    root.replaceChildren(...shown);
  };
  more.onclick = () => { open = true; build(); };
  follow((keys) => { if (keys.has("x") || keys.has("y")) build(); });
  build();
}

function row(name, title) {
  const made = document.createElement("div");
  made.className = "slider";
  const label = document.createElement("label");
  label.textContent = symbol(name);
  label.title = title;
  made.append(label);
  made.dataset.name = name;
  return made;
}

const FEW = 8;

function axisSlider(axis) {
  const made = row(axis.name, axis.meaning);
  const set = (i) => change({ index: { ...view.index, [axis.name]: i }, ...(axis.name === "replicate" ? { mean: false } : {}) });
  if (axis.size <= FEW) {
    const group = document.createElement("div");
    group.className = "segments";
    const buttons = axis.labels.map((label, i) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: typeof label === "number" ? short(label, 4) : label, onclick: () => set(i) });
      return button;
    });
    if (axis.name === "replicate") buttons.push(meanButton());
    group.append(...buttons);
    if (axis.size > 1) group.append(mapsButton(axis));
    made.append(group);
    const show = () => buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(i < axis.size ? view.index[axis.name] === i && !(axis.name === "replicate" && view.mean) : view.mean)));
    follow(show);
    show();
    return made;
  }
  const range = document.createElement("input"), output = document.createElement("output");
  Object.assign(range, { type: "range", min: 0, max: axis.size - 1, step: 1 });
  range.setAttribute("aria-label", titled(axis.name));
  range.oninput = () => set(Number(range.value));
  const show = () => { range.value = view.index[axis.name]; output.textContent = view.mean && axis.name === "replicate" ? "mean" : short(axis.labels[view.index[axis.name]], 4); };
  follow(show);
  made.append(range, output);
  if (axis.name === "replicate") made.append(meanButton());
  show();
  return made;
}

/** Small maps of every value of a dimension. */
function mapsButton(axis) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "maps", textContent: "▦", title: "small maps of every value (m)", onclick: () => change({ facet: view.facet === axis.name ? null : axis.name }) });
  const show = () => button.setAttribute("aria-pressed", String(view.facet === axis.name));
  follow(show);
  show();
  return button;
}

function meanButton() {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: "mean", title: "mean over the replicates", onclick: () => change({ mean: !view.mean }) });
  button.id = "mean";
  return button;
}

function fixedSlider(parameter) {
  const made = row(parameter.name, `${parameter.meaning}${parameter.unit === "1" ? "" : ` (${parameter.unit})`}`);
  const range = document.createElement("input"), number = document.createElement("input"), back = document.createElement("button");
  const [low, high] = parameter.range;
  Object.assign(range, { type: "range", min: low, max: high, step: (high - low) / 200 });
  range.setAttribute("aria-label", titled(parameter.name));
  Object.assign(number, { type: "number", step: "any" });
  number.setAttribute("aria-label", `${titled(parameter.name)}, as a number`);
  Object.assign(back, { type: "button", className: "back", textContent: "↺", title: "back to the scan's value" });
  const set = (value) => {
    const changed = { ...view.changed };
    if (value === parameter.value || !Number.isFinite(value)) delete changed[parameter.name];
    else changed[parameter.name] = value;
    change({ changed });
  };
  range.oninput = () => set(Number(Number(range.value).toPrecision(4)));
  number.onchange = () => set(Number(number.value));
  back.onclick = () => set(parameter.value);
  const show = () => {
    const value = view.changed[parameter.name] ?? parameter.value;
    range.value = value;
    if (number !== document.activeElement) number.value = Number(value.toPrecision(6));
    made.classList.toggle("changed", parameter.name in view.changed);
  };
  follow(show);
  made.append(range, number, back);
  show();
  return made;
}
