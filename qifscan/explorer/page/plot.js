// A plot on a canvas: two axes on scales of their own, layers, and what the pointer does.

import { Scale } from "./scales.js";
import { SvgContext } from "./svg.js";
import { theme } from "./colours.js";

export const FONT = '"Inter", "Helvetica Neue", "Liberation Sans", Arial, sans-serif';
const CLICK = 4; // pixels that a pointer may move in a click

const every = new Set();
/** Draw all plots again, after a change of colours. */
export const redrawAll = () => every.forEach((plot) => plot.draw());

export class Plot {
  /** `on` has any of: hover, leave, click, drag, dragged, box, axisDrag, ranged, fixed (no zoom). */
  constructor(canvas, { x = {}, y = {}, margin = {}, on = {}, minor = false } = {}) {
    Object.assign(this, { canvas, on, minor, layers: [], tool: "point", range: { x: [0, 1], y: [0, 1] }, home: null });
    this.x = { scale: new Scale(), label: "", ...x };
    this.y = { scale: new Scale(), label: "", ...y };
    this.margin = { left: 52, right: 12, top: 10, bottom: 38, ...margin };
    this.times = [];
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.listen();
    every.add(this);
    this.resize();
  }

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.max(40, Math.floor(box.width)), Math.max(30, Math.floor(box.height))];
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, { width, height, ratio });
    [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.on.resized?.();
    this.paint();
  }

  get area() {
    const { left, right, top, bottom } = this.margin;
    return { left, top, width: Math.max(1, this.width - left - right), height: Math.max(1, this.height - top - bottom) };
  }

  setHome(x, y) { this.home = { x: [...x], y: [...y] }; }

  show(x, y) {
    this.range = { x: [...x], y: [...y] };
    this.draw();
  }

  reset() {
    if (!this.home) return;
    this.show(this.home.x, this.home.y);
    this.on.ranged?.(this.range, true);
  }

  px(place) { const { left, width } = this.area, [a, b] = this.range.x; return left + ((place - a) / (b - a)) * width; }
  py(place) { const { top, height } = this.area, [a, b] = this.range.y; return top + height - ((place - a) / (b - a)) * height; }
  fromX(pixel) { const { left, width } = this.area, [a, b] = this.range.x; return a + ((pixel - left) / width) * (b - a); }
  fromY(pixel) { const { top, height } = this.area, [a, b] = this.range.y; return a + ((top + height - pixel) / height) * (b - a); }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.paint(); });
  }

  paint() {
    if (!this.width) return;
    const begin = performance.now();
    const ctx = this.canvas.getContext("2d");
    ctx.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    ctx.clearRect(0, 0, this.width, this.height);
    this.render(ctx);
    this.times.push(performance.now() - begin);
    if (this.times.length > 400) this.times.splice(0, 200);
    this.on.painted?.();
  }

  render(ctx) {
    const colours = theme();
    const { left, top, width, height } = this.area;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    for (const layer of this.layers) layer(ctx, this, colours);
    ctx.restore();
    this.axes(ctx, colours);
    for (const layer of this.above ?? []) layer(ctx, this, colours);
  }

  axes(ctx, colours) {
    const { left, top, width, height } = this.area;
    ctx.save();
    ctx.strokeStyle = colours.muted;
    ctx.lineWidth = 1;
    ctx.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
    ctx.fillStyle = colours.ink;
    ctx.font = `11px ${FONT}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    const bottom = top + height;
    if (this.x.hidden !== true) {
      for (const { place, text } of this.x.scale.ticks(...this.range.x, width / 75)) {
        const at = Math.round(this.px(place)) + 0.5;
        if (at < left - 1 || at > left + width + 1) continue;
        line(ctx, at, bottom, at, bottom + 4);
        ctx.fillText(text, at, bottom + 7);
      }
    }
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const { place, text } of this.y.hidden ? [] : this.y.scale.ticks(...this.range.y, Math.max(3, height / 42))) {
      const at = Math.round(this.py(place)) + 0.5;
      if (at < top - 1 || at > bottom + 1) continue;
      line(ctx, left - 4, at, left, at);
      ctx.fillText(text, left - 7, at);
    }
    ctx.font = `12px ${FONT}`;
    ctx.textAlign = "center";
    if (this.x.label) {
      ctx.textBaseline = "alphabetic";
      ctx.fillText(this.x.label, left + width / 2, this.height - 6);
    }
    if (this.y.label) {
      ctx.textBaseline = "middle";
      ctx.translate(11, top + height / 2);
      ctx.rotate(-Math.PI / 2);
      ctx.fillText(this.y.label, 0, 0);
    }
    ctx.restore();
  }

  svg() {
    const ctx = new SvgContext(this.width, this.height);
    ctx.fillStyle = theme().panel;
    ctx.fillRect(0, 0, this.width, this.height);
    this.render(ctx);
    return ctx.toString();
  }

  // What the pointer does

  where(event) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const { left, top, width, height } = this.area;
    const inX = px >= left && px <= left + width, inY = py >= top && py <= top + height;
    const zone = inX && inY ? "area" : inX && py > top + height ? "x" : inY && px < left ? "y" : "out";
    return { px, py, x: this.fromX(px), y: this.fromY(py), zone, event };
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerleave", () => this.on.leave?.());
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointerup", (event) => this.released(event));
    canvas.addEventListener("pointercancel", () => { this.press = null; });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => { if (!this.on.fixed) this.reset(); });
    canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
  }

  pressed(event) {
    const at = this.where(event);
    if (at.zone === "out") return;
    this.canvas.setPointerCapture(event.pointerId);
    const pans = event.button === 1 || event.button === 2 || this.tool === "pan" || event.ctrlKey || event.altKey;
    const boxes = this.on.box && at.zone === "area" && (event.shiftKey || this.tool === "box");
    const mode = at.zone !== "area" ? `axis-${at.zone}` : boxes ? "box" : pans || !this.on.drag ? "pan" : "drag";
    this.press = { ...at, mode, moved: false, range: structuredClone(this.range) };
    if (mode === "drag") this.on.drag(at, true);
    if (mode.startsWith("axis")) this.on.axisDrag?.(at.zone, at);
  }

  moved(event) {
    const at = this.where(event);
    const press = this.press;
    if (!press) return void (at.zone === "area" ? this.on.hover?.(at) : this.on.leave?.());
    if (Math.hypot(at.px - press.px, at.py - press.py) > CLICK) press.moved = true;
    if (!press.moved) return;
    if (press.mode === "pan" && !this.on.fixed) this.pan(press, at);
    else if (press.mode === "drag") this.on.drag(at, false);
    else if (press.mode === "box") { this.boxed = [press, at]; this.draw(); }
    else if (press.mode.startsWith("axis")) this.on.axisDrag?.(press.zone, at);
  }

  released(event) {
    const press = this.press;
    this.press = null;
    if (!press) return;
    const at = this.where(event);
    if (press.mode === "box" && press.moved) {
      const [x0, x1] = [press.x, at.x].sort((a, b) => a - b), [y0, y1] = [press.y, at.y].sort((a, b) => a - b);
      this.on.box({ x: [x0, x1], y: [y0, y1] });
    } else if (!press.moved && press.zone === "area" && event.button === 0) this.on.click?.(at);
    else if (press.mode === "drag") this.on.dragged?.(at);
    else if (press.mode === "pan" && press.moved) this.on.ranged?.(this.range, false);
  }

  pan(press, at) {
    const { width, height } = this.area;
    const dx = ((at.px - press.px) / width) * (press.range.x[1] - press.range.x[0]);
    const dy = ((at.py - press.py) / height) * (press.range.y[1] - press.range.y[0]);
    this.show(press.range.x.map((v) => v - dx), press.range.y.map((v) => v + dy));
    this.on.ranging?.();
  }

  wheeled(event) {
    if (this.on.fixed) return;
    const at = this.where(event);
    if (at.zone === "out") return;
    event.preventDefault();
    this.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.002), at);
  }

  zoom(factor, at = { zone: "area", x: mid(this.range.x), y: mid(this.range.y) }) {
    const around = (range, centre) => range.map((v) => centre + (v - centre) * factor);
    this.show(at.zone === "y" ? this.range.x : around(this.range.x, at.x), at.zone === "x" ? this.range.y : around(this.range.y, at.y));
    this.on.ranging?.();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.on.ranged?.(this.range, false), 120);
  }
}

const mid = ([a, b]) => (a + b) / 2;

export function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

/** Draw a line through points (places), broken where one is NaN. */
export function polyline(ctx, plot, xs, ys, from = 0, to = xs.length) {
  const fx = plot.x.scale, fy = plot.y.scale;
  ctx.beginPath();
  let open = false;
  for (let i = from; i < to; i++) {
    const x = plot.px(fx.at(xs[i])), y = plot.py(fy.at(ys[i]));
    if (!(Math.abs(x) < 1e6 && Math.abs(y) < 1e6)) { open = false; continue; }
    if (open) ctx.lineTo(x, y); else ctx.moveTo(x, y);
    open = true;
  }
  ctx.stroke();
}

/** Draw a smooth line through samples of a trajectory: cubics whose slopes are those of the neighbours. */
export function smooth(ctx, plot, xs, ys) {
  const fx = plot.x.scale, fy = plot.y.scale;
  const at = (i) => [plot.px(fx.at(xs[i])), plot.py(fy.at(ys[i]))];
  ctx.beginPath();
  let [before, now] = [null, null];
  for (let i = 0; i < xs.length; i++) {
    const next = at(i);
    if (!(Math.abs(next[0]) < 1e6 && Math.abs(next[1]) < 1e6)) { before = now = null; continue; }
    if (!now) ctx.moveTo(...next);
    else if (Math.hypot(next[0] - now[0], next[1] - now[1]) < 3) ctx.lineTo(...next);
    else {
      const after = i + 1 < xs.length ? at(i + 1) : next;
      const [a, b] = [before ?? now, Number.isFinite(after[0] + after[1]) ? after : next];
      ctx.bezierCurveTo(now[0] + (next[0] - a[0]) / 6, now[1] + (next[1] - a[1]) / 6, next[0] - (b[0] - now[0]) / 6, next[1] - (b[1] - now[1]) / 6, ...next);
    }
    [before, now] = [now, next];
  }
  ctx.stroke();
}

/** Draw a marker; hollow where `face` is null. */
export function marker(ctx, x, y, shape, size, edge, face, width = 1.4) {
  ctx.save();
  ctx.strokeStyle = edge;
  ctx.lineWidth = width;
  ctx.beginPath();
  if (shape === "circle") ctx.arc(x, y, size, 0, 2 * Math.PI);
  else if (shape === "square") ctx.rect(x - size, y - size, 2 * size, 2 * size);
  else if (shape === "diamond") outline(ctx, [[x, y - size * 1.25], [x + size * 1.25, y], [x, y + size * 1.25], [x - size * 1.25, y]]);
  else if (shape === "triangle") outline(ctx, [[x, y - size * 1.2], [x + size * 1.1, y + size * 0.8], [x - size * 1.1, y + size * 0.8]]);
  else if (shape === "star") outline(ctx, star(x, y, size * 1.5));
  if (face) { ctx.fillStyle = face; ctx.fill(); }
  ctx.stroke();
  ctx.restore();
}

function outline(ctx, points) {
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.closePath();
}

function star(x, y, size) {
  return [...Array(10).keys()].map((k) => {
    const angle = (k * Math.PI) / 5 - Math.PI / 2, r = k % 2 ? size * 0.42 : size;
    return [x + r * Math.cos(angle), y + r * Math.sin(angle)];
  });
}

export const SHAPES = { LP: "square", HB: "circle", CP: "triangle", BT: "diamond", GH: "star" };

/** A range that holds all finite values, with a margin. */
export function spread(values, margin = 0.06, least = 1e-9) {
  let low = Infinity, high = -Infinity;
  for (const list of values) for (const v of list) if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  if (!(high >= low)) return [0, 1];
  const size = Math.max(high - low, least, 0.02 * Math.max(Math.abs(low), Math.abs(high)));
  const around = (size - (high - low)) / 2 + margin * size;
  return [low - around, high + around];
}
