// The exact diagram of a slice, with the simulated values on it.

import { ask, newest } from "./api.js";
import { THEORY } from "./colours.js";
import { Plot, SHAPES, line, marker, polyline, spread, FONT } from "./plot.js";
import { Scale, short, titled } from "./scales.js";
import { runs, note } from "./map.js";
import { change, placed, view } from "./view.js";

const SERIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7"];

const APART = 8; // pixels between dots of a series

export class DiagramPanel {
  constructor(root, about, say) {
    Object.assign(this, { root, about, say, found: null, card: root.querySelector("[data-card]"), readout: root.querySelector("[data-readout]") });
    this.title = root.querySelector("[data-title]");
    this.legend = root.querySelector("[data-legend]");
    this.plot = new Plot(root.querySelector("canvas"), {
      margin: { left: 58, right: 14, top: 8, bottom: 40 },
      on: {
        hover: (at) => this.hovered(at), leave: () => this.hovered(null), click: (at) => this.clicked(at), ranged: () => {},
      },
    });
    this.plot.layers = [(...a) => this.draw(...a)];
    this.load = newest((_, signal) => this.fetch(signal), (error) => { this.found = null; this.say(error.message); this.plot.draw(); }, 600);
    addEventListener("keydown", (event) => { if (event.key === "Escape") this.card.hidden = true; });
    this.fillAlong(root.querySelector("select"));
  }

  fillAlong(select) {
    const names = [...this.about.axes.filter((a) => !a.text).map((a) => a.name), ...this.about.fixed.filter((p) => p.of_model).map((p) => p.name)];
    select.replaceChildren(...names.map((name) => new Option(`along ${titled(name)}`, name)));
    select.onchange = () => change({ along: select.value });
    this.select = select;
  }

  get axis() { return this.about.axes.find((a) => a.name === view.along); }
  get fixed() { return this.about.fixed.find((p) => p.name === view.along); }
  get position() {
    if (this.axis) return this.axis.scale === "index" && this.axis.columns ? view.index[view.along] : this.axis.labels[view.index[view.along] ?? 0];
    return view.changed[view.along] ?? this.fixed?.value;
  }

  react(keys) {
    if (["along", "index", "changed", "variable"].some((key) => keys.has(key))) {
      // Along its own axis a point moves on the same diagram.
      const others = JSON.stringify([view.along, view.variable, { ...view.index, [view.along]: 0 }, { ...view.changed, [view.along]: 0 }, this.about.done]);
      if (others !== this.asked) { this.asked = others; this.card.hidden = true; this.load(); }
      else this.plot.draw();
    }
    this.select.value = view.along;
  }

  again() { this.asked = null; this.react(new Set(["index"])); }

  async fetch(signal) {
    const changed = { ...view.changed };
    const request = { ...placed(), changed, along: view.along, variable: view.variable, done: this.about.done };
    if (this.axis) request.index = { ...view.index, [view.along]: 0 };
    else { delete changed[view.along]; request.range = this.fixed.range; }
    const found = await ask("diagram", request, signal);
    this.found = found;
    this.frame();
    this.describe();
    this.plot.draw();
    this.onLoaded?.();
  }

  /** The variable of the state that is drawn up: that of the map if it is one. */
  get which() {
    const names = this.about.model.variables.map((v) => v.name);
    const own = names.indexOf(String(view.variable).split("_")[0]);
    return Math.max(0, own);
  }

  frame() {
    const { found } = this;
    const axis = this.axis;
    const kind = axis && axis.scale === "log" ? "log" : "linear";
    const variable = this.about.model.variables[this.which];
    const text = axis?.text;
    this.plot.x = { scale: text ? new Scale("index", axis.labels) : new Scale(kind), label: titled(view.along, axis?.unit ?? this.fixed?.unit) };
    this.plot.y = { scale: new Scale(), label: titled(variable.name, variable.unit) };
    const scale = this.plot.x.scale;
    const x = text ? [-0.5, axis.labels.length - 0.5] : found.range.map((v) => scale.at(v));
    const [, size] = found.states?.shape ?? [0, 0];
    const own = found.states ? found.states.subarray(this.which * size, (this.which + 1) * size) : [];
    const inside = Array.from(own).filter((_, i) => found.across[i] >= found.range[0] && found.across[i] <= found.range[1]);
    const simulated = ["mean", "min", "max", "final"].map((name) => found[`simulated_${name}`] ?? []);
    // Branches can go far beyond what is simulated, and are cut off there.
    const y = spread([inside, ...simulated], 0.07);
    if (this.about.model.variables[this.which].name === this.about.model.rate) y[0] = Math.min(0, y[0] < 0 && spread([inside, ...simulated], 0)[0] >= 0 ? 0 : y[0]);
    this.plot.setHome(x, y);
    this.plot.range = { x: [...x], y: [...y] };
    this.own = own;
  }

  describe() {
    const parts = [];
    const { found } = this;
    const add = (style, text) => {
      const chip = document.createElement("span");
      chip.className = "chip plain";
      const dot = document.createElement("i");
      dot.className = style.className ?? "stroke";
      Object.assign(dot.style, style.css);
      chip.append(dot, text);
      parts.push(chip);
    };
    if (found.method !== "none") {
      add({ css: { background: "var(--ink)" } }, "stable");
      add({ className: "stroke dashed", css: {} }, "unstable");
    }
    (found.series ?? []).forEach((name, k) => { if (found.simulated.length) add({ className: k % 2 ? "ring" : "dot", css: k % 2 ? { borderColor: SERIES[k % SERIES.length] } : { background: k ? SERIES[k % SERIES.length] : "var(--series)" } }, name ? `simulated, ${name}` : "simulated"); });
    this.legend.replaceChildren(...parts);
  }

  draw(ctx, plot, colours) {
    const { found } = this;
    if (!found) return void note(ctx, plot, colours, "the diagram of a slice is drawn here");
    ctx.save();
    this.drawPosition(ctx, plot, colours);
    if (found.method === "branch") this.drawBranch(ctx, plot, colours);
    if (found.method === "points") this.drawDots(ctx, plot, colours);
    this.drawSimulated(ctx, plot, colours);
    for (const row of found.special) {
      const [x, y] = this.placeOf(row);
      marker(ctx, x, y, SHAPES[row.type], 5, colours.panel, THEORY[row.type], 1.2);
      ctx.fillStyle = THEORY[row.type];
      ctx.font = `600 11px ${FONT}`;
      ctx.fillText(row.type, x + 8, y - 7);
    }
    if (!found.special.length && found.method === "none") note(ctx, plot, colours, "no exact theory along this axis");
    ctx.restore();
  }

  drawPosition(ctx, plot, colours) {
    const at = this.position;
    const x = plot.px(plot.x.scale.kind === "index" ? view.index[view.along] : plot.x.scale.at(at));
    ctx.strokeStyle = colours.a;
    ctx.globalAlpha = 0.65;
    ctx.lineWidth = 1.2;
    line(ctx, x, 0, x, plot.height);
    ctx.globalAlpha = 1;
    if (view.second && view.second[view.along] !== undefined) {
      const label = this.axis.labels[view.second[view.along]];
      const second = plot.px(plot.x.scale.at(label));
      ctx.strokeStyle = colours.b;
      ctx.setLineDash([4, 3]);
      line(ctx, second, 0, second, plot.height);
      ctx.setLineDash([]);
    }
  }

  drawBranch(ctx, plot, colours) {
    const { found, own } = this;
    Object.assign(ctx, { strokeStyle: colours.ink, lineWidth: 1.9, lineJoin: "round" });
    for (const [first, last] of runs(found.piece)) {
      for (let from = first; from < last - 1;) {
        const solid = this.isStable(from);
        let to = from + 1;
        while (to < last - 1 && this.isStable(to) === solid) to++;
        ctx.setLineDash(solid ? [] : [5, 4]);
        ctx.globalAlpha = solid ? 1 : 0.7;
        polyline(ctx, plot, found.across, own, from, to + 1);
        from = to;
      }
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }

  /** Whether the piece from a point to the next is stable; at special points the other end tells. */
  isStable(i) {
    const { stable, marginal } = this.found;
    if (marginal[i] || marginal[i + 1]) return Boolean(stable[i] || stable[i + 1]);
    return Boolean(stable[i] && stable[i + 1]);
  }

  drawDots(ctx, plot, colours) {
    const { found, own } = this;
    for (let i = 0; i < found.across.length; i++) {
      const x = plot.px(plot.x.scale.at(found.across[i])), y = plot.py(own[i]);
      ctx.fillStyle = colours.ink;
      ctx.globalAlpha = found.stable[i] ? 1 : 0.4;
      ctx.beginPath();
      ctx.arc(x, y, found.stable[i] ? 1.4 : 1.0, 0, 7);
      ctx.fill();
    }
    ctx.globalAlpha = 1;
  }

  drawSimulated(ctx, plot, colours) {
    const { found } = this;
    if (!found.simulated?.length) return;
    const count = found.labels.length;
    const main = found.simulated_mean ?? found.simulated_final ?? found.simulated_max;
    const { simulated_min: low, simulated_max: high, simulated_status: status } = found;
    found.series.forEach((_, k) => {
      ctx.strokeStyle = ctx.fillStyle = k ? SERIES[k % SERIES.length] : colours.series;
      let last = -Infinity;
      for (let i = 0; i < count; i++) {
        const at = k * count + i;
        if (!status[at]) continue;
        const x = plot.px(plot.x.scale.at(found.labels[i]));
        // Dots that would hide each other are left out until one zooms in; those with a flag never are.
        if (Math.abs(x - last) < APART && !(status[at] & 14)) continue;
        last = x;
        if (low && high && high[at] > low[at]) {
          Object.assign(ctx, { lineWidth: 2, globalAlpha: 0.3 });
          line(ctx, x, plot.py(low[at]), x, plot.py(high[at]));
        }
        ctx.globalAlpha = 0.85;
        ctx.beginPath();
        ctx.arc(x, plot.py(main[at]), k % 2 ? 4.4 : 2.8, 0, 7);
        if (k % 2 || status[at] & 14) { ctx.lineWidth = 1.4; ctx.stroke(); } else ctx.fill();
      }
    });
    ctx.globalAlpha = 1;
  }

  placeOf(row) {
    return [this.plot.px(this.plot.x.scale.at(row.at[view.along])), this.plot.py(row.state[this.which])];
  }

  nearestSpecial(at, within = 12) {
    return (this.found?.special ?? []).find((row) => {
      const [x, y] = this.placeOf(row);
      return Math.hypot(x - at.px, y - at.py) < within;
    });
  }

  hovered(at) {
    if (!at || !this.found) return void (this.readout.textContent = "");
    const row = this.nearestSpecial(at);
    this.plot.canvas.style.cursor = row ? "pointer" : "crosshair";
    if (row) return void (this.readout.textContent = `${row.type}: ${titled(view.along)} = ${short(row.at[view.along], 8)} — click for more`);
    this.readout.textContent = `${titled(view.along)} = ${short(this.plot.x.scale.value(at.x), 4)}, ${this.plot.y.label.split(" ")[0]} = ${short(at.y, 4)}`;
  }

  clicked(at) {
    const row = this.nearestSpecial(at);
    if (row) return void this.showCard(row, at);
    this.card.hidden = true;
    this.moveTo(at.x);
  }

  moveTo(place) {
    const axis = this.axis;
    const value = this.plot.x.scale.value(place);
    if (!axis) return void change({ changed: { ...view.changed, [view.along]: Number(value.toPrecision(4)) } });
    const best = this.plot.x.scale.kind === "index" ? Math.round(place) : nearest(axis.labels, value);
    change({ index: { ...view.index, [view.along]: Math.max(0, Math.min(axis.size - 1, best)) } });
  }

  showCard(row, at) {
    const { card } = this;
    const facts = [[titled(view.along), row.at[view.along]], ...this.about.model.variables.map((v, i) => [v.name, row.state[i]])];
    if (row.type === "HB") facts.push(["frequency", row.numbers.frequency, "1/ms"], ["period", row.numbers.period, "ms"], ["l₁", row.numbers.l1]);
    if (row.type === "LP") facts.push(["fold coefficient", row.numbers.fold_coefficient]);
    const list = document.createElement("dl");
    for (const [name, value, unit] of facts) {
      const [key, text] = [document.createElement("dt"), document.createElement("dd")];
      key.textContent = name;
      text.textContent = short(value, 8) + (unit ? ` ${unit}` : "");
      list.append(key, text);
    }
    const title = document.createElement("h3");
    title.textContent = row.type + (row.criticality ? `, ${row.criticality}` : "");
    const meaning = document.createElement("p");
    meaning.textContent = row.meaning + (row.converged ? "" : " (not converged)");
    const buttons = document.createElement("div");
    const go = button("Go there", () => { card.hidden = true; this.moveTo(this.plot.x.scale.at(row.at[view.along])); });
    const followed = button("Follow this curve in two parameters", () => { card.hidden = true; change({ follow: row.type, curves: true }); });
    followed.dataset.follow = row.type;
    buttons.append(followed, go, button("Close", () => { card.hidden = true; }));
    card.replaceChildren(title, meaning, list, buttons);
    card.hidden = false;
    const box = this.plot.canvas.parentElement.getBoundingClientRect();
    card.style.left = `${Math.max(8, Math.min(at.px + 14, box.width - 270))}px`;
    card.style.top = `${Math.max(4, Math.min(at.py - 30, box.height - card.offsetHeight - 4))}px`;
  }
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.onclick = action;
  return made;
}

export function nearest(labels, value) {
  let best = 0;
  labels.forEach((label, i) => { if (Math.abs(label - value) < Math.abs(labels[best] - value)) best = i; });
  return best;
}
