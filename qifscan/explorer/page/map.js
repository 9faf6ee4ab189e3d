// The map: tiles of a variable over two dimensions, flags as a layer, exact curves over it, the points.

import { ask, newest } from "./api.js";
import { DISTINCT, FLAG_COLOURS, THEORY, cssOf, packedOf, shades } from "./colours.js";
import { Cells, Scale, short, titled, unitText } from "./scales.js";
import { FONT, Plot, SHAPES, line, marker, polyline } from "./plot.js";
import { change, placed, view } from "./view.js";


const COARSE = 2; // levels by which the first look at theory is coarser

export class MapPanel {
  constructor(root, about, say) {
    Object.assign(this, { about, say, tiles: new Map(), plane: null, curves: {}, hover: null });
    this.readout = root.querySelector("[data-readout]");
    this.legend = root.querySelector("[data-legend]");
    this.plot = new Plot(root.querySelector("canvas"), {
      margin: { left: 58, right: 84, top: 10, bottom: 42 },
      on: {
        hover: (at) => this.hovered(at), leave: () => this.hovered(null),
        click: (at) => (at.event.shiftKey ? this.setSecond(at) : this.setPoint(at, true)),
        drag: (at, first) => { if (!first || !at.event.shiftKey) this.setPoint(at, false); },
        dragged: (at) => this.setPoint(at, true),
        axisDrag: (zone, at) => this.sliced(zone, at),
        box: (box) => this.onBox?.(box), ranging: () => this.tilesSoon(), resized: () => this.tilesSoon(),
        ranged: (range, home) => { this.tilesSoon(); change({ window: home ? null : [range.x, range.y] }); },
      },
    });
    this.plot.layers = [(...a) => this.drawTiles(...a), (...a) => this.drawCurves(...a), (...a) => this.drawPoints(...a)];
    this.plot.above = [(...a) => this.drawBar(...a), (...a) => this.drawHandles(...a)];
    this.load = newest((_, signal) => this.fetchPlane(signal), (error) => this.failed(error), 1500);
    this.loadCurves = newest((_, signal) => this.fetchCurves(signal), (error) => say(error.message), 3000);
    this.axes = Object.fromEntries(about.axes.map((axis) => [axis.name, axis]));
    this.setAxes();
  }

  get variable() { return this.about.variables.find((v) => v.name === view.variable); }

  setAxes() {
    const empty = { name: "", labels: [0], scale: "index", unit: "1" };
    this.cx = new Cells(this.axes[view.x] ?? empty);
    this.cy = new Cells(this.axes[view.y] ?? empty);
    this.plot.x = { scale: this.cx.scale, hidden: !view.x, label: view.x ? titled(view.x, this.axes[view.x].unit) : "" };
    this.plot.y = { scale: this.cy.scale, hidden: !view.y, label: view.y ? titled(view.y, this.axes[view.y].unit) : "" };
    this.plot.setHome(this.cx.ends, this.cy.ends);
    this.plot.range = view.window ? { x: [...view.window[0]], y: [...view.window[1]] } : { x: [...this.cx.ends], y: [...this.cy.ends] };
  }

  /** React to what has changed in the view. */
  react(keys) {
    const has = (...names) => names.some((name) => keys.has(name));
    if (has("x", "y")) { this.plane = null; this.tiles.clear(); this.setAxes(); }
    const follows = has("changed") && this.variable?.exact;
    if (has("x", "y", "variable", "mean") || follows || this.othersMoved()) this.load();
    if (has("x", "y", "changed", "curves", "follow") || this.othersMoved(true)) this.loadCurves();
    if (has("scale", "log", "percent", "levels", "hidden")) { this.recolour(); }
    if (has("window")) {
      const [x, y] = view.window ?? [this.cx.ends, this.cy.ends];
      this.plot.show(x, y);
      this.tilesSoon();
    }
    this.plot.draw();
  }

  others() {
    return Object.fromEntries(Object.entries(view.index).filter(([name]) => name !== view.x && name !== view.y));
  }
  othersMoved(look = false) {
    const text = JSON.stringify(this.others());
    const key = look ? "seenCurves" : "seen";
    const moved = this[key] !== text;
    this[key] = text;
    return moved;
  }

  request() {
    // What was simulated does not follow the sliders of fixed parameters.
    const changed = this.variable?.exact ? view.changed : {};
    return { variable: view.variable, x: view.x, y: view.y, index: this.others(), changed, mean: view.mean };
  }

  async fetchPlane(signal) {
    const request = this.request();
    const plane = await ask("plane", { ...request, done: this.about.done }, signal);
    this.failure = null;
    const next = new Map();
    const incoming = { plane, request: { ...request, done: this.about.done }, tiles: next };
    const show = () => {
      Object.assign(this, { plane, asked: incoming.request, tiles: next });
      this.variableShown = this.about.variables.find((v) => v.name === request.variable);
      this.recolour();
      this.plot.draw();
    };
    // Theory is computed while one looks: a coarse map comes first.
    if (this.variable?.exact) {
      await this.fetchTiles(incoming, signal, COARSE);
      show();
    }
    await this.fetchTiles(incoming, signal);
    show();
    this.onLoaded?.();
  }

  failed(error) {
    this.failure = error.message;
    this.plane = null;
    this.tiles.clear();
    this.say(error.message);
    this.plot.draw();
  }

  /** The resolution at which a pixel of the map is at least one of the screen. */
  level(plane = this.plane) {
    const { width, height } = this.plot.area;
    const perX = (width * this.plot.ratio) / Math.max(1, (this.plot.range.x[1] - this.plot.range.x[0]) / Math.abs(this.cx.step));
    const perY = (height * this.plot.ratio) / Math.max(1, (this.plot.range.y[1] - this.plot.range.y[0]) / Math.abs(this.cy.step));
    const least = Math.min(this.cx.size > 1 ? perX : Infinity, this.cy.size > 1 ? perY : Infinity);
    return Math.max(0, Math.min(plane.levels - 1, Math.ceil(-Math.log2(least) - 0.05)));
  }

  /** Which tiles are in the window. */
  needed(level) {
    const side = this.about.tile << level;
    const span = (cells, range) => {
      const first = Math.floor((range[0] - cells.first) / cells.step + 0.5), last = Math.ceil((range[1] - cells.first) / cells.step + 0.5);
      const low = Math.max(0, Math.min(first, cells.size - 1)), high = Math.max(0, Math.min(last, cells.size) - 1);
      return [Math.floor(low / side), Math.floor(high / side)];
    };
    const [c0, c1] = span(this.cx, this.plot.range.x), [r0, r1] = span(this.cy, this.plot.range.y);
    const found = [];
    for (let row = r0; row <= r1; row++) for (let column = c0; column <= c1; column++) found.push({ level, row, column });
    return found;
  }

  async fetchTiles(target, signal, coarser = 0) {
    const wanted = this.needed(Math.min(target.plane.levels - 1, this.level(target.plane) + coarser));
    await Promise.all(wanted.map(async (at) => {
      const key = `${at.level}/${at.row}/${at.column}`;
      if (target.tiles.has(key)) return;
      const tile = await ask("tile", { ...target.request, ...at }, signal);
      target.tiles.set(key, { ...at, ...tile, key });
    }));
  }

  tilesSoon() {
    if (!this.plane) return;
    this.loadTiles ??= newest(async (_, signal) => {
      const target = { plane: this.plane, request: this.asked, tiles: this.tiles };
      await this.fetchTiles(target, signal);
      this.plot.draw();
    }, (error) => this.say(error.message), 400);
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.loadTiles(), 30);
  }

  // Colours

  categories() {
    const variable = this.variableShown ?? this.variable;
    if (variable?.values) return Object.entries(variable.values).map(([code, text]) => ({ code: Number(code), text }));
    if (variable?.masks) return [{ code: 0, text: "not run" }, ...Object.entries(variable.masks).map(([code, text]) => ({ code: Number(code), text }))];
    if (["exact:count", "exact:stable", "equilibrium_count"].includes(variable?.name)) return [0, 1, 2, 3, 4, 5].map((n) => ({ code: n, text: String(n) }));
    return null;
  }

  limits() {
    if (view.levels) return view.levels;
    const plane = this.plane;
    if (!plane || plane.low === null) return [0, 1];
    const [low, high] = view.percent && plane.percent ? plane.percent : [plane.low, plane.high];
    return high > low ? [low, high] : [low - 0.5 * (Math.abs(low) || 1), low + 0.5 * (Math.abs(low) || 1)];
  }

  get logarithmic() { return view.log && this.limits()[1] > 0; }

  recolour() {
    for (const tile of this.tiles.values()) tile.image = tile.flagged = undefined;
    this.plot.draw();
    this.describe();
  }

  painter() {
    const categories = this.categories();
    const style = getComputedStyle(document.documentElement);
    const undefinedShade = packedOf(style.getPropertyValue("--undefined").trim());
    if (categories) {
      const masks = (this.variableShown ?? this.variable)?.masks;
      const codes = new Map(categories.map(({ code }, i) => [code, packedOf(categoryColour(categories, i))]));
      return (value) => {
        if (Number.isNaN(value)) return undefinedShade;
        if (!masks) return codes.get(value) ?? undefinedShade;
        // Of flags that hold together the last one is shown, "computed" alone if there is no other.
        let shown = 0;
        for (const { code } of categories) if (code && value & code) shown = code;
        return codes.get(shown);
      };
    }
    const table = shades(view.scale), last = table.length - 1;
    let [low, high] = this.limits();
    const log = this.logarithmic;
    if (log) { high = Math.log10(high); low = low > 0 ? Math.log10(low) : high - 4; }
    const factor = last / (high - low);
    return (value) => {
      const v = log ? Math.log10(value) : value;
      if (Number.isNaN(v)) return undefinedShade;
      const k = (v - low) * factor;
      return table[k > 0 ? (k < last ? Math.round(k) : last) : 0];
    };
  }

  paintTile(tile) {
    const [rows, columns] = tile.values.shape;
    const paint = this.painter();
    const image = new ImageData(columns, rows);
    const out = new Uint32Array(image.data.buffer);
    const { values, flags } = tile;
    const raw = (this.variableShown ?? this.variable)?.masks;
    for (let row = 0; row < rows; row++) {
      // Rows go up in the map and down in a picture.
      let from = row * columns, to = (rows - 1 - row) * columns;
      for (let i = 0; i < columns; i++, from++, to++) if (!flags || flags[from] || raw) out[to] = paint(values[from]);
    }
    tile.image = asCanvas(image);
    tile.flagged = flags ? this.paintFlags(flags, rows, columns) : null;
  }

  paintFlags(flags, rows, columns) {
    const shown = this.about.flags.filter(({ name }) => name !== "computed" && !view.hidden.includes(name));
    const mask = shown.reduce((all, flag) => all | flag.mask, 0);
    if (!mask || !flags.some((f) => f & mask)) return null;
    const image = new ImageData(columns, rows);
    const out = new Uint32Array(image.data.buffer);
    const colour = shown.map(({ name, mask: bit }) => [bit, packedOf(FLAG_COLOURS[name], 235)]);
    for (let row = 0; row < rows; row++) {
      let from = row * columns, to = (rows - 1 - row) * columns;
      for (let i = 0; i < columns; i++, from++, to++) {
        if (flags[from] & mask) for (const [bit, shade] of colour) if (flags[from] & bit) { out[to] = shade; break; }
      }
    }
    return asCanvas(image);
  }

  // Drawing

  drawTiles(ctx, plot, colours) {
    const { left, top, width, height } = plot.area;
    hatch(ctx, left, top, width, height, colours);
    if (this.failure) return void note(ctx, plot, colours, this.failure);
    if (!this.plane) return void note(ctx, plot, colours, "reading …");
    ctx.save();
    ctx.imageSmoothingEnabled = false;
    const level = this.level();
    // Coarser tiles lie below finer ones: while these come, there is something to see.
    const order = [...this.tiles.values()].filter((t) => t.level >= level).sort((a, b) => b.level - a.level);
    for (const tile of order) this.drawTile(ctx, plot, tile);
    ctx.restore();
  }

  drawTile(ctx, plot, tile) {
    if (!tile.image) this.paintTile(tile);
    const [rows, columns] = tile.values.shape;
    const block = 1 << tile.level;
    const [row0, column0] = tile.first;
    const edge = (cells, k) => cells.first + (Math.min(k * block, cells.size) - 0.5) * cells.step;
    const x0 = plot.px(edge(this.cx, column0)), x1 = plot.px(edge(this.cx, column0 + columns));
    const y1 = plot.py(edge(this.cy, row0)), y0 = plot.py(edge(this.cy, row0 + rows));
    const { left, top, width, height } = plot.area;
    if (x1 < left || x0 > left + width || y1 < top || y0 > top + height) return;
    // Only what is seen of a tile is drawn: far beyond the window a browser would still scale it.
    const cut = (p0, p1, count, low, high) => {
      const size = (p1 - p0) / count;
      const a = Math.max(0, Math.floor((low - p0) / size)), b = Math.min(count, Math.ceil((high - p0) / size));
      return [a, b - a, p0 + a * size, (b - a) * size];
    };
    const [sx, sw, dx, dw] = cut(x0, x1, columns, left, left + width);
    const [sy, sh, dy, dh] = cut(y0, y1, rows, top, top + height);
    if (sw < 1 || sh < 1) return;
    ctx.drawImage(tile.image, sx, sy, sw, sh, dx, dy, dw, dh);
    if (tile.flagged) ctx.drawImage(tile.flagged, sx, sy, sw, sh, dx, dy, dw, dh);
  }

  drawCurves(ctx, plot, colours) {
    for (const kind of ["HB", "LP"]) {
      const found = this.curves[kind];
      if (!found?.across?.length) continue;
      const strong = view.follow === kind;
      if (!view.curves && !strong) continue;
      ctx.save();
      ctx.lineJoin = "round";
      if (found.method === "points") {
        ctx.fillStyle = THEORY[kind];
        for (let i = 0; i < found.across.length; i++) {
          ctx.beginPath();
          ctx.arc(plot.px(plot.x.scale.at(found.across[i])), plot.py(plot.y.scale.at(found.up[i])), 1.6, 0, 7);
          ctx.fill();
        }
      } else {
        for (const [width, colour, alpha] of [[strong ? 5.5 : 3.6, "#ffffff", 0.75], [strong ? 3 : 1.7, THEORY[kind], 1]]) {
          Object.assign(ctx, { lineWidth: width, strokeStyle: colour, globalAlpha: alpha });
          for (const [from, to] of runs(found.piece)) polyline(ctx, plot, found.across, found.up, from, to);
        }
      }
      ctx.globalAlpha = 1;
      for (const row of found.special) {
        const x = plot.px(plot.x.scale.at(row.at[view.x])), y = plot.py(plot.y.scale.at(row.at[view.y]));
        marker(ctx, x, y, SHAPES[row.type], strong ? 6 : 4.5, "#ffffff", THEORY[row.type], 1.2);
        if (strong) tag(ctx, x + 9, y - 9, row.type);
      }
      ctx.restore();
    }
  }

  drawPoints(ctx, plot, colours) {
    const draw = (index, colour, name) => {
      const x = plot.px(this.cx.place(index[view.x] ?? 0)), y = plot.py(this.cy.place(index[view.y] ?? 0));
      const { left, top, width, height } = plot.area;
      ctx.save();
      for (const [w, c, a] of [[2.6, "#ffffff", 0.28], [1, colour, 0.95]]) {
        Object.assign(ctx, { lineWidth: w, strokeStyle: c, globalAlpha: a });
        if (name === "A") { line(ctx, left, y, x - 7, y); line(ctx, x + 7, y, left + width, y); line(ctx, x, top, x, y - 7); line(ctx, x, y + 7, x, top + height); }
      }
      ctx.globalAlpha = 1;
      marker(ctx, x, y, "circle", 6.5, "#ffffff", null, 3.6);
      marker(ctx, x, y, "circle", 6.5, colour, null, 2);
      if (view.second) tag(ctx, x + 10, y - 10, name, colour);
      ctx.restore();
    };
    draw(view.index, colours.a, "A");
    if (view.second) draw({ ...view.index, ...view.second }, colours.b, "B");
    if (plot.press?.mode === "box" && plot.press.moved && plot.boxed) {
      const [a, b] = plot.boxed;
      const x0 = plot.px(a.x), y0 = plot.py(a.y);
      Object.assign(ctx, { strokeStyle: "#ffffff", lineWidth: 2.5 });
      ctx.strokeRect(x0, y0, b.px - x0, b.py - y0);
      Object.assign(ctx, { strokeStyle: colours.a, lineWidth: 1 });
      ctx.setLineDash([5, 3]);
      ctx.strokeRect(x0, y0, b.px - x0, b.py - y0);
      ctx.setLineDash([]);
    }
  }

  /** Triangles on the axes: which slice is drawn, and where to take hold of it. */
  drawHandles(ctx, plot, colours) {
    const { left, top, width, height } = plot.area;
    const x = plot.px(this.cx.place(view.index[view.x] ?? 0)), y = plot.py(this.cy.place(view.index[view.y] ?? 0));
    ctx.save();
    const handle = (points, active) => {
      ctx.beginPath();
      points.forEach(([a, b], i) => (i ? ctx.lineTo(a, b) : ctx.moveTo(a, b)));
      ctx.closePath();
      ctx.fillStyle = active ? colours.a : colours.panel;
      ctx.strokeStyle = colours.a;
      ctx.fill();
      ctx.stroke();
    };
    const bottom = top + height;
    if (view.x && x >= left && x <= left + width) handle([[x, bottom], [x - 5, bottom + 8], [x + 5, bottom + 8]], view.along === view.y);
    if (view.y && y >= top && y <= bottom) handle([[left, y], [left - 8, y - 5], [left - 8, y + 5]], view.along === view.x);
    ctx.restore();
  }

  drawBar(ctx, plot, colours) {
    const { left, top, width, height } = plot.area;
    const x = left + width + 16, w = 13;
    ctx.save();
    ctx.font = `11px ${FONT}`;
    ctx.textBaseline = "middle";
    ctx.fillStyle = colours.ink;
    const categories = this.categories();
    if (categories) {
      let shown = 0;
      categories.forEach(({ code, text }, i) => {
        if (this.plane && (code < this.plane.low || code > this.plane.high)) return;
        const y = top + 6 + shown++ * 17;
        ctx.fillStyle = categoryColour(categories, i);
        ctx.fillRect(x, y - 5, 10, 10);
        ctx.fillStyle = colours.ink;
        ctx.fillText(text.replace("_", " ").slice(0, 10), x + 14, y);
      });
      return void ctx.restore();
    }
    const table = shades(view.scale);
    const count = Math.min(256, Math.floor(height));
    for (let i = 0; i < count; i++) {
      ctx.fillStyle = cssOf(table[Math.round((i / (count - 1)) * (table.length - 1))]);
      ctx.fillRect(x, top + height - ((i + 1) * height) / count, w, height / count + 0.6);
    }
    ctx.strokeStyle = colours.muted;
    ctx.strokeRect(x + 0.5, top + 0.5, w - 1, height - 1);
    if (this.plane) this.barTicks(ctx, x + w, top, height, colours);
    const variable = this.variable;
    ctx.textAlign = "center";
    ctx.fillStyle = colours.ink;
    ctx.translate(plot.width - 8, top + height / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.fillText(nameOf(variable) + (unitText(variable?.unit) ? ` (${unitText(variable.unit)})` : ""), 0, 0);
    ctx.restore();
  }

  barTicks(ctx, x, top, height, colours) {
    ctx.fillStyle = colours.ink;
    let [low, high] = this.limits();
    const scale = new Scale(this.logarithmic ? "log" : "linear");
    if (this.logarithmic) low = low > 0 ? low : high / 1e4;
    const [a, b] = [scale.at(low), scale.at(high)];
    for (const { place, text } of scale.ticks(a, b, height / 45)) {
      const y = top + height - ((place - a) / (b - a)) * height;
      line(ctx, x, y, x + 4, y);
      ctx.fillText(text, x + 7, y);
    }
  }

  // Curves

  async fetchCurves(signal) {
    if (!view.x || !view.y || (!view.curves && !view.follow)) { this.curves = {}; return void this.plot.draw(); }
    const request = { x: view.x, y: view.y, index: this.others(), changed: view.changed };
    const found = {};
    for (const kind of ["LP", "HB"]) found[kind] = await ask("curves", { ...request, kind }, signal);
    this.curves = found;
    this.describe();
    this.plot.draw();
    this.onCurves?.();
  }

  // What the pointer does

  at(place) { return { ...(view.x && { [view.x]: this.cx.index(place.x) }), ...(view.y && { [view.y]: this.cy.index(place.y) }) }; }

  /** The point that the pixel below the pointer shows. */
  shownAt(place) {
    const index = this.at(place);
    const level = this.plane ? this.level() : 0;
    const half = (k, size) => Math.min((k >> level << level) + (level ? 1 << (level - 1) : 0), size - 1);
    return Object.fromEntries(Object.entries(index).map(([name, k]) => [name, half(k, (name === view.x ? this.cx : this.cy).size)]));
  }

  setPoint(place, chosen) {
    change({ index: { ...view.index, ...this.shownAt(place) }, starts: chosen ? view.starts : view.starts });
    if (chosen) this.onChosen?.();
  }

  setSecond(place) { change({ second: this.shownAt(place) }); }

  sliced(zone, place) {
    const other = zone === "x" ? view.y : view.x;
    const name = zone === "x" ? view.x : view.y;
    if (!name) return;
    const index = zone === "x" ? this.cx.index(place.x) : this.cy.index(place.y);
    change({ index: { ...view.index, [name]: index }, along: other ?? name });
  }

  valueAt(index) {
    for (let level = 0; level < (this.plane?.levels ?? 0); level++) {
      const column = (index[view.x] ?? 0) >> level, row = (index[view.y] ?? 0) >> level;
      const side = this.about.tile;
      const tile = this.tiles.get(`${level}/${Math.floor(row / side)}/${Math.floor(column / side)}`);
      if (!tile) continue;
      const k = (row - tile.first[0]) * tile.values.shape[1] + (column - tile.first[1]);
      return { value: tile.values[k], flags: tile.flags?.[k], level };
    }
    return null;
  }

  hovered(place) {
    if (!place || !this.plane) return void (this.readout.textContent = "");
    const begin = performance.now();
    const index = this.shownAt(place);
    const found = this.valueAt(index);
    const words = Object.entries(index).map(([name, i]) => `${titled(name)} = ${short(this.axes[name].labels[i])}`);
    if (found) {
      const unit = unitText(this.variable?.unit);
      const run = found.flags !== 0 || this.variable?.masks;
      words.push(run ? `${nameOf(this.variable)} = ${this.worded(found.value)}${unit && Number.isFinite(found.value) ? ` ${unit}` : ""}` : "not run yet");
      words.push(...this.flagWords(found.flags));
      if (found.level) words.push(`one of ${1 << found.level} × ${1 << found.level} points`);
    }
    this.readout.textContent = words.join("   ·   ");
    this.hoverTime = performance.now() - begin;
  }

  worded(value) {
    const categories = this.categories();
    if (!categories || Number.isNaN(value)) return short(value);
    if (this.variable.masks) return this.flagWords(value, true).join(", ") || "computed";
    return `${value} (${categories.find(({ code }) => code === value)?.text ?? value})`.replace(/^(\d+) \(\1\)$/, "$1");
  }

  flagWords(flags) {
    return this.about.flags.filter(({ name, mask }) => flags & mask && name !== "computed").map(({ name }) => name.replace("_", " "));
  }

  describe() {
    const counts = this.plane?.counts ?? {};
    const chips = [];
    for (const { name, meaning } of [...this.about.flags, { name: "not_run", meaning: "the point has not been run yet" }]) {
      if (name === "computed" || !counts[name]) continue;
      const chip = document.createElement("button");
      chip.className = "chip";
      chip.type = "button";
      chip.title = meaning;
      chip.dataset.flag = name;
      chip.setAttribute("aria-pressed", String(!view.hidden.includes(name)));
      const dot = document.createElement("i");
      dot.style.background = FLAG_COLOURS[name];
      chip.append(dot, `${name.replace("_", " ")} ${counts[name].toLocaleString("en")}`);
      if (name === "not_run") chip.disabled = true;
      else chip.onclick = () => change({ hidden: view.hidden.includes(name) ? view.hidden.filter((n) => n !== name) : [...view.hidden, name] });
      chips.push(chip);
    }
    if (this.plane && !chips.length && Object.keys(counts).length) chips.push(textChip("no flags: every point can be trusted"));
    for (const kind of ["LP", "HB"]) {
      if (view.curves && this.curves[kind]?.across?.length) {
        const how = this.curves[kind].method === "followed" ? "followed" : "exact";
        const chip = textChip(`${kind === "LP" ? "folds" : "Hopf points"} (${how})`);
        const dot = document.createElement("i");
        dot.className = "stroke";
        dot.style.background = THEORY[kind];
        chip.prepend(dot);
        chips.push(chip);
      }
    }
    this.legend.replaceChildren(...chips);
  }
}

function textChip(text) {
  const chip = document.createElement("span");
  chip.className = "chip plain";
  chip.append(text);
  return chip;
}

export const nameOf = (variable) => variable?.short ?? variable?.name ?? "";

function categoryColour(categories, i) {
  const { text } = categories[i];
  if (FLAG_COLOURS[text.replace(" ", "_")]) return FLAG_COLOURS[text.replace(" ", "_")];
  if (text === "none" || text === "0") return "#bbbbbb";
  if (text === "computed" || text === "lowest" || text === "1") return DISTINCT[0];
  if (text === "middle") return DISTINCT[2];
  if (text === "highest" || text === "2") return DISTINCT[1];
  return DISTINCT[[2, 3, 4, 5][i % 4]];
}

function asCanvas(image) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function* runs(piece) {
  for (let from = 0; from < piece.length;) {
    let to = from + 1;
    while (to < piece.length && piece[to] === piece[from]) to++;
    yield [from, to];
    from = to;
  }
}

function hatch(ctx, left, top, width, height, colours) {
  ctx.fillStyle = colours.paper;
  ctx.fillRect(left, top, width, height);
  ctx.strokeStyle = colours.line;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let d = -height; d < width; d += 9) { ctx.moveTo(left + d, top + height); ctx.lineTo(left + d + height, top); }
  ctx.stroke();
}

export function note(ctx, plot, colours, text) {
  const { left, top, width, height } = plot.area;
  ctx.save();
  Object.assign(ctx, { fillStyle: colours.muted, font: `13px ${FONT}`, textAlign: "center", textBaseline: "middle" });
  const words = text.split(" ");
  const rows = [""];
  for (const word of words) {
    if (rows.at(-1).length + word.length > width / 7) rows.push("");
    rows[rows.length - 1] += ` ${word}`;
  }
  rows.forEach((row, i) => ctx.fillText(row.trim(), left + width / 2, top + height / 2 + (i - (rows.length - 1) / 2) * 18));
  ctx.restore();
}

export function tag(ctx, x, y, text, colour = "#1d2430") {
  ctx.save();
  Object.assign(ctx, { font: `600 11px ${FONT}`, textBaseline: "middle", textAlign: "left", lineWidth: 3.5, strokeStyle: "#ffffff", lineJoin: "round" });
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
  ctx.restore();
}
