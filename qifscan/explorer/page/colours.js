// Colours: scales that colour-blind people read, and those of the page itself.

const STOPS = {
  viridis: "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  cividis: "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838",
  magma: "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c43c75d0416fdc4869e75263ef5d5ef56b5cf9795dfc8961fd9869fea772feb67cfec488fed395fde2a3fcf0b2fcfdbf",
  diverging: "0530610e41791752901f63a82a71b23480b93f8ec0529dc86bacd184bcd99bc9e0aed3e6c2ddecd4e6f1e0ecf3ecf2f5f7f6f6f9eee7fbe5d8fddcc9fbccb4f8bb9ef5aa89ee9677e48066db6b55d05548c53e3dba2832ab162a930e267c072267001f",
};

export const SCALES = Object.keys(STOPS);

const SHADES = 1024;
const tables = new Map();

/** A scale as a table of packed RGBA, from low to high. */
export function shades(name) {
  if (tables.has(name)) return tables.get(name);
  const text = STOPS[name] ?? STOPS.viridis;
  const stops = text.match(/../g).map((pair) => parseInt(pair, 16));
  const last = stops.length / 3 - 1;
  const table = new Uint32Array(SHADES);
  for (let i = 0; i < SHADES; i++) {
    const at = (i / (SHADES - 1)) * last;
    const k = Math.min(last - 1, Math.floor(at));
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(stops[3 * k + c] + (at - k) * (stops[3 * k + 3 + c] - stops[3 * k + c])));
    table[i] = packed(r, g, b);
  }
  tables.set(name, table);
  return table;
}

export const packed = (r, g, b, a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

export function packedOf(hex, alpha = 255) {
  const number = parseInt(hex.slice(1), 16);
  return packed(number >> 16, (number >> 8) & 255, number & 255, alpha);
}

export const cssOf = (shade) => `rgb(${shade & 255},${(shade >> 8) & 255},${(shade >> 16) & 255})`;

/** Okabe and Ito's colours, which colour-blind people tell apart. */
export const DISTINCT = ["#4477aa", "#ccbb44", "#228833", "#aa3377", "#66ccee", "#ee6677", "#bbbbbb", "#000000"];

export const FLAG_COLOURS = {
  not_run: "#9aa3ad", diverged: "#d55e00", rate_negative: "#56b4e9", under_resolved: "#e69f00", not_settled: "#cc79a7",
};

export const THEORY = { LP: "#d1495b", HB: "#00798c", CP: "#7b2d26", BT: "#8d5a97", GH: "#00798c" };

/** The colours of the page as they are now: light or dark. */
export function theme() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: get("ink"), muted: get("muted"), faint: get("faint"), line: get("line"), paper: get("paper"), panel: get("panel"),
    a: get("point-a"), b: get("point-b"), nullR: get("null-r"), nullV: get("null-v"), flow: get("flow"),
    undefined: get("undefined"), stable: get("ink"), replay: get("replay"), manifold: get("manifold"), series: get("series"),
  };
}
