// Scales of axes: a value has a place on its scale, and every scale is drawn straight.

const SYMBOLS = {
  eta: "η", delta: "Δ", tau: "τ", alpha: "α", eta_e: "ηₑ", eta_i: "ηᵢ", tau_a: "τₐ", tau_d: "τ_d",
  v_ou_sigma: "σᵥ", r_ou_sigma: "σᵣ", tau_e: "τₑ", tau_i: "τᵢ", delta_e: "Δₑ", delta_i: "Δᵢ",
};

export const symbol = (name) => SYMBOLS[name] ?? name;

const SUPERSCRIPTS = { "-": "⁻", ".": "·", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

export const unitText = (unit) =>
  !unit || unit === "1" ? "" : unit.replace(/\^([-\d.]+)/g, (_, power) => [...power].map((c) => SUPERSCRIPTS[c]).join(""));

export const titled = (name, unit) => symbol(name) + (unitText(unit) ? ` (${unitText(unit)})` : "");

/** A number with few digits, as one writes it; null is what is not defined. */
export function short(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return "not defined";
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-4 ? value.toExponential(digits - 2) : value.toPrecision(digits);
  const [mantissa, power] = text.split("e");
  const bare = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return (power === undefined ? bare : `${bare}e${Number(power)}`).replace("-", "−");
}

/** A scale: "linear", "log", or "index" with the labels that stand at 0, 1, 2, ... */
export class Scale {
  constructor(kind = "linear", labels = null) {
    this.kind = kind;
    this.labels = labels;
  }
  at(value) { return this.kind === "log" ? Math.log10(value) : value; }
  value(place) { return this.kind === "log" ? 10 ** place : place; }

  /** Ticks between two places: [{place, text}], about so many. */
  ticks(low, high, count) {
    if (this.kind === "index") return this.indexTicks(low, high, count);
    if (this.kind === "log" && high - low > 0.7) return logTicks(low, high, count);
    if (this.kind === "log") {
      return linear(10 ** low, 10 ** high, count).map((v) => ({ place: Math.log10(v), text: short(v, 4) }));
    }
    const values = linear(low, high, count);
    const step = values.length > 1 ? values[1] - values[0] : 1;
    const digits = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)));
    const large = Math.max(Math.abs(low), Math.abs(high));
    const plain = large < 1e5 && (step > 1e-4);
    return values.map((v) => ({
      place: v,
      text: (plain ? v.toFixed(digits) : short(Math.abs(v) < step / 1e6 ? 0 : v, 3)).replace("-", "−"),
    }));
  }

  indexTicks(low, high, count) {
    const step = Math.max(1, Math.ceil((high - low) / Math.max(1, count)));
    const ticks = [];
    for (let i = Math.max(0, Math.ceil(low)); i <= Math.min(this.labels.length - 1, high); i += step) {
      ticks.push({ place: i, text: typeof this.labels[i] === "number" ? short(this.labels[i], 4) : String(this.labels[i]) });
    }
    return ticks;
  }
}

function linear(low, high, count) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const values = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) values.push(k * step);
  return values;
}

function logTicks(low, high, count) {
  const few = high - low > 2;
  const ticks = [];
  const every = Math.max(1, Math.ceil((high - low) / Math.max(1, count)));
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
    for (const m of few ? [1] : [1, 2, 5]) {
      const place = power + Math.log10(m);
      if (place >= low - 1e-9 && place <= high + 1e-9 && (!few || power % every === 0)) {
        ticks.push({ place, text: short(m * 10 ** power, 4) });
      }
    }
  }
  return ticks;
}

/** An axis of the scan as pixels of a map: even cells on the axis's own scale. */
export class Cells {
  constructor(axis) {
    const labels = axis.labels;
    this.size = labels.length;
    this.labels = labels;
    this.name = axis.name;
    this.scale = new Scale(axis.scale, axis.scale === "index" ? (axis.columns ? firstColumn(axis) : labels) : null);
    this.first = axis.scale === "index" ? 0 : this.scale.at(labels[0]);
    const last = axis.scale === "index" ? labels.length - 1 : this.scale.at(labels.at(-1));
    this.step = this.size > 1 ? (last - this.first) / (this.size - 1) : 1;
  }
  place(index) { return this.first + index * this.step; }
  index(place) {
    return Math.max(0, Math.min(this.size - 1, Math.round((place - this.first) / this.step)));
  }
  get ends() { return [this.first - this.step / 2, this.place(this.size - 1) + this.step / 2]; }
}

const firstColumn = (axis) => Object.values(axis.columns)[0];
