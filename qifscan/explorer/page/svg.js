// What a plot draws with, as SVG: the part of a canvas's context that `plot.js` uses.

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const fixed = (x) => Math.round(x * 100) / 100;

export class SvgContext {
  constructor(width, height) {
    Object.assign(this, { width, height, parts: [], path: "", stack: [], clips: 0, dash: [], matrix: "" });
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1, font: "12px sans-serif",
      textAlign: "left", textBaseline: "alphabetic", lineCap: "butt", lineJoin: "miter" });
  }
  save() {
    const { fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, matrix, clips } = this;
    this.stack.push({ fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, matrix, clips, groups: 0 });
  }
  restore() {
    const state = this.stack.pop();
    for (let i = 0; i < state.groups; i++) this.parts.push("</g>");
    delete state.groups;
    const clips = this.clips;
    Object.assign(this, state, { clips });
  }
  beginPath() { this.path = ""; }
  closePath() { this.path += "Z"; }
  moveTo(x, y) { this.path += `M${fixed(x)} ${fixed(y)}`; }
  lineTo(x, y) { this.path += `L${fixed(x)} ${fixed(y)}`; }
  bezierCurveTo(...points) { this.path += `C${points.map(fixed).join(" ")}`; }
  rect(x, y, w, h) { this.path += `M${fixed(x)} ${fixed(y)}h${fixed(w)}v${fixed(h)}h${fixed(-w)}Z`; }
  arc(x, y, r) { this.path += `M${fixed(x - r)} ${fixed(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`; }
  setLineDash(dash) { this.dash = dash; }
  translate(x, y) { this.matrix += `translate(${fixed(x)} ${fixed(y)})`; }
  rotate(angle) { this.matrix += `rotate(${fixed((angle * 180) / Math.PI)})`; }
  put(tag, attributes, inside = "") {
    const own = { ...attributes, opacity: this.globalAlpha === 1 ? undefined : this.globalAlpha, transform: this.matrix || undefined };
    const text = Object.entries(own).filter(([, v]) => v !== undefined).map(([k, v]) => `${k}="${escaped(v)}"`).join(" ");
    this.parts.push(`<${tag} ${text}${inside ? `>${inside}</${tag}>` : "/>"}`);
  }
  stroke() {
    const dash = this.dash.length ? this.dash.join(" ") : undefined;
    this.put("path", { d: this.path, fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth,
      "stroke-dasharray": dash, "stroke-linejoin": "round", "stroke-linecap": this.lineCap });
  }
  fill() { this.put("path", { d: this.path, fill: this.fillStyle }); }
  fillRect(x, y, w, h) { this.put("rect", { x: fixed(x), y: fixed(y), width: fixed(w), height: fixed(h), fill: this.fillStyle }); }
  strokeRect(x, y, w, h) { this.beginPath(); this.rect(x, y, w, h); this.stroke(); }
  fillText(text, x, y) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const shift = { middle: "0.35em", top: "0.8em" }[this.textBaseline];
    this.put("text", { x: fixed(x), y: fixed(y), dy: shift, fill: this.fillStyle, "text-anchor": anchor, style: `font:${this.font}` }, escaped(text));
  }
  strokeText() { /* halos are for the screen */ }
  clip() {
    const id = `c${++this.clips}-${Math.random().toString(36).slice(2, 7)}`;
    this.parts.push(`<clipPath id="${id}"><path d="${this.path}"/></clipPath><g clip-path="url(#${id})">`);
    if (this.stack.length) this.stack.at(-1).groups++;
  }
  drawImage(image, sx, sy, sw, sh, dx, dy, dw, dh) {
    const cut = document.createElement("canvas");
    [cut.width, cut.height] = [Math.max(1, Math.round(sw)), Math.max(1, Math.round(sh))];
    cut.getContext("2d").drawImage(image, sx, sy, sw, sh, 0, 0, cut.width, cut.height);
    this.put("image", { x: fixed(dx), y: fixed(dy), width: fixed(dw), height: fixed(dh), preserveAspectRatio: "none",
      style: "image-rendering:pixelated", href: cut.toDataURL("image/png") });
  }
  toString() {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">\n${this.parts.join("\n")}\n</svg>\n`;
  }
}
