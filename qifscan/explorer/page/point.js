// A point: its phase plane, its trajectories, its eigenvalues, and the scan's own run of it.

import { ask, newest } from "./api.js";
import { Plot, line, marker, polyline, smooth, spread, FONT } from "./plot.js";
import { short, titled } from "./scales.js";
import { note } from "./map.js";
import { change, placed, view } from "./view.js";

const STARTS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
const MOST_STARTS = 6;

export class PointPanel {
  constructor(root, about, say, which) {
    Object.assign(this, { root, about, say, which, runs: [], phase: null, point: null, replay: null });
    const get = (name) => root.querySelector(`[data-${name}]`);
    Object.assign(this, { heading: get("heading"), table: get("table"), checked: get("checked"), readout: get("readout") });
    this.names = about.model.variables.map((v) => v.name);
    this.units = about.model.variables.map((v) => v.unit);
    this.buildPhase(get("phase"));
    this.buildSeries(get("series"));
    this.buildEigen(get("eigen"));
    const failed = (error) => this.failed(error);
    this.loadPhase = newest((_, signal) => this.fetchPhase(signal), failed, 600);
    this.loadRuns = newest((_, signal) => this.fetchRuns(signal), failed, 1500);
    this.loadReplay = newest((_, signal) => this.fetchReplay(signal), (error) => { this.replay = null; this.replayAt = JSON.stringify(this.place); this.checked.textContent = error.message; this.drawSeries(); }, 1500);
    this.loadPoint = newest((chosen, signal) => this.fetchPoint(chosen, signal), failed, 600);
  }

  get index() { return this.which === "A" ? view.index : { ...view.index, ...view.second }; }
  get place() { return placed(this.index); }

  failed(error) {
    this.error = error.message;
    this.say(error.message);
    this.phasePlot.draw();
  }

  buildPhase(canvas) {
    this.phasePlot = new Plot(canvas, {
      margin: { left: 52, right: 10, top: 8, bottom: 38 },
      on: {
        click: (at) => this.addStart(at), hover: (at) => this.phaseHovered(at), leave: () => { this.readout.textContent = ""; },
        ranged: (range, home) => { this.window = home ? null : [range.x, range.y]; this.loadPhase(); },
      },
    });
    this.phasePlot.x.label = titled(this.names[0], this.units[0]);
    this.phasePlot.y.label = titled(this.names[1], this.units[1]);
    this.phasePlot.layers = [(...a) => this.drawPhase(...a)];
  }

  buildSeries(root) {
    this.series = [0, 1].map((k) => {
      const plot = new Plot(root.children[k].querySelector("canvas"), {
        margin: { left: 58, right: 12, top: 8, bottom: k === 1 ? 38 : 8 },
        on: { hover: (at) => this.seriesHovered(at, k), leave: () => { this.readout.textContent = ""; }, ranging: () => this.together(k), ranged: () => this.together(k) },
      });
      plot.y.label = titled(this.names[k], this.units[k]);
      if (k === 1) plot.x.label = "time (ms)"; else plot.x.hidden = true;
      plot.layers = [(ctx, p, colours) => this.drawTrace(ctx, p, colours, k)];
      return plot;
    });
    this.input = new Plot(root.children[2].querySelector("canvas"), {
      margin: { left: 58, right: 12, top: 4, bottom: 4 },
      on: { fixed: true, box: (box) => this.drawnPulse(box), hover: () => { this.readout.textContent = "drag to draw a pulse of input"; }, leave: () => { this.readout.textContent = ""; } },
    });
    this.input.tool = "box";
    this.input.x.hidden = true;
    this.input.y.label = "I";
    this.input.layers = [(...a) => this.drawInput(...a)];
  }

  buildEigen(canvas) {
    this.eigenPlot = new Plot(canvas, { margin: { left: 58, right: 12, top: 8, bottom: 38 }, on: { hover: (at) => this.eigenHovered(at), leave: () => { this.readout.textContent = ""; } } });
    Object.assign(this.eigenPlot.x, { label: "Re λ (ms⁻¹)" });
    Object.assign(this.eigenPlot.y, { label: "Im λ" });
    this.eigenPlot.layers = [(...a) => this.drawEigen(...a)];
  }

  react(keys) {
    const has = (...names) => names.some((name) => keys.has(name));
    const moved = has("index", "changed") || (this.which === "B" && has("second"));
    if (this.which === "B" && !view.second) return;
    if (moved) { this.window = this.widened = null; this.loadPhase(); }
    if (moved || has("time", "start", "starts", "drive", "noise", "seed")) this.loadRuns();
    if (moved || has("replay")) this.loadReplay();
    if (moved || has("second", "x", "y")) this.title();
    this.phasePlot.draw();
  }

  all() { this.title(); this.react(new Set(["index", "time", "replay", "second"])); }

  chosen() { this.loadPoint(true); }

  async fetchPoint(chosen, signal) {
    this.point = await ask("point", { ...this.place, chosen, done: this.about.done }, signal);
    const stored = Object.entries(this.point.stored ?? {}).map(([name, value]) => `${name} = ${short(value)}`);
    this.heading.title = stored.length ? `stored: ${stored.join(", ")}` : "";
  }

  title() {
    // Side by side there is room for what may differ.
    const shown = ([name]) => this.about.axes.find((a) => a.name === name) && (!view.second || name === view.x || name === view.y);
    const text = Object.entries(this.index).filter(shown)
      .map(([name, i]) => {
        const label = this.about.axes.find((a) => a.name === name).labels[i];
        return `${titled(name)} = ${short(label, 4)}`;
      });
    text.push(...Object.entries(view.changed).map(([name, value]) => `${titled(name)} = ${short(value, 4)}`));
    const badge = document.createElement("b");
    badge.textContent = view.second ? this.which : "Point";
    badge.className = `badge ${this.which.toLowerCase()}`;
    this.heading.replaceChildren(badge, text.join(",  "));
  }

  async fetchPhase(signal) {
    const request = { ...this.place };
    const window = this.window ?? this.widened;
    if (window) request.window = window;
    const at = JSON.stringify(this.place);
    const found = await ask("phase", request, signal);
    this.phase = found;
    this.phaseAt = at;
    this.root.querySelector("[data-border]").hidden = !found.manifold?.length;
    this.root.querySelector("[data-plane-note]").textContent = found.note;
    this.error = null;
    if (!this.window) {
      const [x, y] = this.fitted(found);
      // The window that is right for the equilibria may be too narrow for a trajectory.
      this.phasePlot.setHome(x, y);
      this.phasePlot.range = { x: [...x], y: [...y] };
    }
    if (!window) this.widen();
    this.fillTable();
    this.frameEigen();
    this.phasePlot.draw();
    this.eigenPlot.draw();
    this.onLoaded?.();
  }

  /** Show the whole of what runs leave the window with; nullclines and flow then come anew. */
  widen() {
    const here = JSON.stringify(this.place);
    // Once, when all of them are there.
    const waits = this.runsAt !== here || (this.replays && this.replayAt !== here);
    if (this.window || !this.phase || this.phaseAt !== here || waits) return;
    const runs = [...this.runs, ...(this.replay ? [this.replay] : [])];
    const wide = [0, 1].map((k) => {
      const [low, high] = this.phase.window[k];
      let [a, b] = [Infinity, -Infinity];
      for (const run of runs) for (const v of this.rows(run)[k]) if (Number.isFinite(v)) { a = Math.min(a, v); b = Math.max(b, v); }
      const pad = 0.05 * Math.max(high - low, b - a);
      return [a < low ? a - pad : low, b > high ? b + pad : high];
    });
    const same = wide.every((pair, k) => pair.every((v, i) => v === this.phase.window[k][i]));
    if (same) return;
    this.widened = wide;
    this.loadPhase();
  }

  fitted(found) { return [found.window[0], found.window[1]]; }

  async fetchRuns(signal) {
    const place = this.place;
    const common = { ...place, t_end: view.time, drive: view.drive, noise: view.noise, seed: view.seed };
    const starts = view.starts.length ? view.starts : [view.start];
    const found = await Promise.all(starts.map((start) => ask("trajectory", { ...common, start }, signal)));
    this.runs = found;
    this.runsAt = JSON.stringify(place);
    this.frameSeries();
    this.drawSeries();
    this.widen();
    this.phasePlot.draw();
  }

  get replays() { return view.replay && this.about.stored && !Object.keys(view.changed).length; }

  async fetchReplay(signal) {
    if (!this.replays) {
      this.replay = null;
      this.checked.textContent = !this.about.stored ? "" : view.replay ? "replay: only with the scan's own parameters" : "";
      return void this.drawSeries();
    }
    const place = this.place;
    this.replay = await ask("replay", { ...place, done: this.about.done }, signal);
    this.replayAt = JSON.stringify(place);
    this.checked.textContent = `replay: ${this.replay.checked}`;
    this.frameSeries();
    this.drawSeries();
    this.widen();
    this.phasePlot.draw();
  }

  rows(run) {
    const [count, size] = run.state.shape;
    return [...Array(count).keys()].map((k) => run.state.subarray(k * size, (k + 1) * size));
  }

  frameSeries() {
    const runs = [...this.runs, ...(this.replay ? [this.replay] : [])];
    const end = Math.max(...this.runs.map((r) => r.time.at(-1)), this.replay && !this.runs.length ? this.replay.time.at(-1) : 0, 1);
    this.series.forEach((plot, k) => {
      const y = spread(runs.map((run) => this.rows(run)[k]), 0.08, 1e-3);
      plot.setHome([0, end], y);
      plot.range = { x: [0, end], y: [...y] };
    });
    this.input.range.x = [0, end];
    const own = this.runs[0]?.input ?? [];
    const size = Math.max(1, ...Array.from(own).map(Math.abs)) * 1.25;
    this.input.range.y = [own.some((v) => v < 0) ? -size : -0.25 * size, size];
  }

  together(k) {
    const other = this.series[1 - k];
    other.show(this.series[k].range.x, other.range.y);
    this.input.show(this.series[k].range.x, this.input.range.y);
  }

  drawSeries() {
    this.series.forEach((plot) => plot.draw());
    this.input.draw();
  }

  addStart(at) {
    const state = this.phase?.equilibria[0]?.state ?? this.names.map(() => 0);
    const start = state.map((value, i) => (i === 0 ? Math.max(1e-6, at.x) : i === 1 ? at.y : value));
    change({ starts: [...view.starts, start].slice(-MOST_STARTS) });
  }

  drawnPulse({ x, y }) {
    const tall = Math.abs(y[1]) >= Math.abs(y[0]) ? y[1] : y[0];
    const round = (v) => Number(v.toPrecision(3));
    change({ drive: { kind: "pulse", amplitude: round(tall), start: round(Math.max(0, x[0])), length: round(x[1] - Math.max(0, x[0])) } });
  }

  // Drawing

  colour(k) { return view.starts.length ? STARTS[k % STARTS.length] : this.ink; }

  drawPhase(ctx, plot, colours) {
    this.ink = this.which === "A" ? colours.a : colours.b;
    const { phase } = this;
    if (this.error) return void note(ctx, plot, colours, this.error);
    if (!phase) return void note(ctx, plot, colours, "click on the map");
    this.drawFlow(ctx, plot, colours);
    const pair = (values) => [values.subarray(0, values.length / 2), values.subarray(values.length / 2)];
    Object.assign(ctx, { lineWidth: 1.6, lineJoin: "round", strokeStyle: colours.nullR });
    polyline(ctx, plot, ...pair(phase.nullcline_x));
    ctx.strokeStyle = colours.nullV;
    polyline(ctx, plot, ...pair(phase.nullcline_y));
    if (phase.manifold?.length) {
      Object.assign(ctx, { strokeStyle: colours.manifold, lineWidth: 1.3 });
      ctx.setLineDash([2, 3]);
      polyline(ctx, plot, ...pair(phase.manifold));
      ctx.setLineDash([]);
    }
    if (this.replay) {
      const [x, y] = this.rows(this.replay);
      Object.assign(ctx, { strokeStyle: colours.replay, lineWidth: 1, globalAlpha: 0.7 });
      smooth(ctx, plot, x, y);
      ctx.globalAlpha = 1;
    }
    this.runs.forEach((run, k) => {
      const [x, y] = this.rows(run);
      Object.assign(ctx, { strokeStyle: this.colour(k), lineWidth: 1.8 });
      smooth(ctx, plot, x, y);
      marker(ctx, plot.px(x[0]), plot.py(y[0]), "circle", 3, this.colour(k), colours.panel, 1.6);
    });
    this.drawEquilibria(ctx, plot, colours, (row) => row.state);
  }

  drawFlow(ctx, plot, colours) {
    const { flow } = this.phase;
    const [pieces, points] = flow.shape;
    Object.assign(ctx, { strokeStyle: colours.flow, fillStyle: colours.flow, lineWidth: 1 });
    for (let k = 0; k < pieces; k++) {
      const from = k * points * 2;
      ctx.beginPath();
      for (let i = 0; i < points; i++) {
        const x = plot.px(flow[from + 2 * i]), y = plot.py(flow[from + 2 * i + 1]);
        if (i) ctx.lineTo(x, y); else ctx.moveTo(x, y);
      }
      ctx.stroke();
      const end = from + 2 * (points - 1);
      const [x1, y1, x0, y0] = [plot.px(flow[end]), plot.py(flow[end + 1]), plot.px(flow[end - 2]), plot.py(flow[end - 1])];
      arrow(ctx, x1, y1, Math.atan2(y1 - y0, x1 - x0));
    }
  }

  drawEquilibria(ctx, plot, colours, placeOf) {
    this.phase.equilibria.forEach((row) => {
      const [x, y] = placeOf(row);
      const shape = row.kind === "saddle" ? "diamond" : "circle";
      marker(ctx, plot.px(x), plot.py(y), shape, 5, colours.ink, row.stable ? colours.ink : colours.panel, 1.8);
    });
  }

  drawTrace(ctx, plot, colours, k) {
    this.ink = this.which === "A" ? colours.a : colours.b;
    if (this.replay) {
      const { time, transient } = this.replay;
      const x0 = plot.px(transient), x1 = plot.px(time.at(-1));
      ctx.fillStyle = colours.faint;
      ctx.fillRect(x0, 0, x1 - x0, plot.height);
      Object.assign(ctx, { strokeStyle: colours.replay, lineWidth: 1.2, lineJoin: "round" });
      polyline(ctx, plot, time, this.rows(this.replay)[k]);
    }
    Object.assign(ctx, { lineWidth: 1.5, lineJoin: "round" });
    this.runs.forEach((run, i) => {
      ctx.strokeStyle = this.colour(i);
      if (this.replay && i === 0 && !view.starts.length) ctx.setLineDash([6, 3]);
      polyline(ctx, plot, run.time, this.rows(run)[k]);
      ctx.setLineDash([]);
    });
  }

  drawInput(ctx, plot, colours) {
    const own = this.runs[0];
    ctx.strokeStyle = colours.line;
    line(ctx, 0, plot.py(0), plot.width, plot.py(0));
    if (own?.input.length) {
      Object.assign(ctx, { strokeStyle: colours.ink, lineWidth: 1.4 });
      polyline(ctx, plot, own.time, own.input);
    } else if (!plot.press?.moved) {
      Object.assign(ctx, { fillStyle: colours.muted, font: `11px ${FONT}`, textAlign: "center", textBaseline: "middle" });
      ctx.fillText("no input — drag here to draw a pulse", plot.width / 2, plot.height / 2 - 6);
    }
    if (plot.press?.mode === "box" && plot.press.moved && plot.boxed) {
      const [a, b] = plot.boxed;
      ctx.fillStyle = colours.a;
      ctx.globalAlpha = 0.25;
      ctx.fillRect(a.px, b.py, b.px - a.px, plot.py(0) - b.py);
      ctx.globalAlpha = 1;
    }
  }

  frameEigen() {
    const values = this.phase.equilibria.flatMap((row) => row.eigenvalues);
    const re = Math.max(0.5, ...values.map(([a]) => Math.abs(a))) * 1.15, im = Math.max(0.5, ...values.map(([, b]) => Math.abs(b))) * 1.25;
    this.eigenPlot.setHome([-re, re], [-im, im]);
    this.eigenPlot.range = { x: [-re, re], y: [-im, im] };
  }

  drawEigen(ctx, plot, colours) {
    if (!this.phase) return;
    ctx.fillStyle = colours.faint;
    ctx.fillRect(plot.px(0), 0, plot.width, plot.height);
    ctx.strokeStyle = colours.line;
    line(ctx, plot.px(0), 0, plot.px(0), plot.height);
    line(ctx, 0, plot.py(0), plot.width, plot.py(0));
    this.phase.equilibria.forEach((row) => row.eigenvalues.forEach(([a, b]) => {
      marker(ctx, plot.px(a), plot.py(b), row.kind === "saddle" ? "diamond" : "circle", 4, colours.ink, row.stable ? colours.ink : colours.panel, 1.5);
    }));
  }

  fillTable() {
    const rows = this.phase.equilibria.map((row) => {
      const tr = document.createElement("tr");
      const name = `${row.stable ? "stable" : "unstable"} ${row.kind === "saddle" ? "" : row.kind}`.replace("unstable ", row.kind === "saddle" ? "saddle" : "unstable ");
      const cells = [(row.stable ? (row.kind === "saddle" ? "◆ " : "● ") : row.kind === "saddle" ? "◇ " : "○ ") + name.trim(), ...row.state.slice(0, 3).map((v) => short(v, 4)), eigenText(row.eigenvalues)];
      for (const text of cells) {
        const td = document.createElement("td");
        td.textContent = text;
        tr.append(td);
      }
      return tr;
    });
    const head = document.createElement("tr");
    for (const text of ["equilibrium", ...this.names.slice(0, 3), "eigenvalues (ms⁻¹)"]) {
      const th = document.createElement("th");
      th.textContent = text;
      head.append(th);
    }
    this.table.replaceChildren(head, ...rows);
  }

  phaseHovered(at) {
    const row = this.phase?.equilibria.find(({ state }) => Math.hypot(this.phasePlot.px(state[0]) - at.px, this.phasePlot.py(state[1]) - at.py) < 10);
    this.readout.textContent = row ? `${row.stable ? "stable" : "unstable"} ${row.kind}: λ = ${eigenText(row.eigenvalues)}` :
      `${this.names[0]} = ${short(at.x, 4)}, ${this.names[1]} = ${short(at.y, 4)} — click to start here`;
  }

  seriesHovered(at, k) {
    const run = this.runs[0];
    if (!run) return;
    const i = Math.max(0, Math.min(run.time.length - 1, Math.round((at.x / run.time.at(-1)) * (run.time.length - 1))));
    this.readout.textContent = `t = ${short(run.time[i], 5)} ms, ${this.names.slice(0, 2).map((n, j) => `${n} = ${short(this.rows(run)[j][i], 4)}`).join(", ")}`;
  }

  eigenHovered(at) { this.readout.textContent = `λ = ${short(at.x, 3)} ${at.y < 0 ? "−" : "+"} ${short(Math.abs(at.y), 3)}i`; }
}

function arrow(ctx, x, y, angle) {
  const at = (turn, size) => [x + size * Math.cos(angle + turn), y + size * Math.sin(angle + turn)];
  ctx.beginPath();
  ctx.moveTo(...at(0, 2.4));
  ctx.lineTo(...at(2.5, 3.2));
  ctx.lineTo(...at(-2.5, 3.2));
  ctx.closePath();
  ctx.fill();
}

export function eigenText(values) {
  const told = [];
  for (const [a, b] of values.slice(0, 4)) {
    if (b < 0) continue;
    told.push(b > 0 ? `${short(a, 3)} ± ${short(b, 3)}i` : short(a, 3));
  }
  return told.join(", ");
}
