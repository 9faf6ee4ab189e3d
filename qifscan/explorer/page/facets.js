// Small maps of the other values of a dimension, below the map: its third dimension at a glance.

import { ask, newest } from "./api.js";
import { short, titled } from "./scales.js";
import { change, view } from "./view.js";

const MOST = 8;

export class Facets {
  constructor(root, map, about) {
    Object.assign(this, { root, map, about, shown: [] });
    this.load = newest((_, signal) => this.fetch(signal), () => {}, 2000);
  }

  /** Dimensions that can be shown: few values, and not on the map. */
  static able(about) {
    return about.axes.filter((a) => a.size > 1 && a.size <= MOST && a.name !== view.x && a.name !== view.y).map((a) => a.name);
  }

  get axis() { return Facets.able(this.about).includes(view.facet) ? this.about.axes.find((a) => a.name === view.facet) : null; }

  async fetch(signal) {
    const { axis, map } = this;
    const before = this.root.hidden;
    this.root.hidden = axis === null;
    if (before !== this.root.hidden) map.plot.resize();
    if (axis === null) return;
    const request = map.request();
    const tiles = await Promise.all(axis.labels.map(async (_, i) => {
      const own = { ...request, index: { ...request.index, [axis.name]: i }, done: this.about.done };
      const { levels } = await ask("plane", own, signal);
      return ask("tile", { ...own, level: levels - 1, row: 0, column: 0 }, signal);
    }));
    this.shown = axis.labels.map((label, i) => this.thumbnail(axis, label, i, { ...tiles[i] }));
    this.root.replaceChildren(...this.shown.map(({ button }) => button));
    this.mark();
  }

  thumbnail(axis, label, i, tile) {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    const name = document.createElement("span");
    name.textContent = `${titled(axis.name)} = ${typeof label === "number" ? short(label, 3) : label}`;
    Object.assign(button, { type: "button", onclick: () => change({ index: { ...view.index, [axis.name]: i }, mean: view.mean && axis.name !== "replicate" }) });
    button.append(canvas, name);
    this.paint(canvas, tile);
    return { button, canvas, tile, i };
  }

  paint(canvas, tile) {
    this.map.paintTile(tile);
    [canvas.width, canvas.height] = [tile.image.width, tile.image.height];
    const ctx = canvas.getContext("2d");
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.drawImage(tile.image, 0, 0);
    if (tile.flagged) ctx.drawImage(tile.flagged, 0, 0);
  }

  /** Colours and the frame of the one that the map shows. */
  recolour() {
    for (const { canvas, tile } of this.shown) this.paint(canvas, tile);
    this.mark();
  }

  mark() {
    for (const { button, i } of this.shown) button.setAttribute("aria-pressed", String(view.index[view.facet] === i));
  }

  react(keys) {
    const { axis } = this;
    const others = axis && JSON.stringify([axis.name, { ...this.map.request(), index: { ...this.map.request().index, [axis.name]: 0 } }, this.about.done]);
    if (others !== this.asked) { this.asked = others; this.load(); }
    else if (["scale", "log", "percent", "levels", "hidden", "dark"].some((key) => keys.has(key))) this.recolour();
    else this.mark();
  }
}
