// What is taken away from the page: text in the clipboard, pictures.

import { theme } from "./colours.js";
import { FONT } from "./plot.js";

export async function copy(text) {
  window.explorerCopied = text;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Not allowed to a page in a frame: the old way.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Every plot as it stands on the page, in one picture. */
export function savePicture(about, { map }) {
  const ratio = Math.max(2, devicePixelRatio || 1);
  const box = document.querySelector("main").getBoundingClientRect();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [box.width * ratio, (box.height + 30) * ratio];
  const ctx = canvas.getContext("2d");
  const colours = theme();
  ctx.scale(ratio, ratio);
  ctx.fillStyle = colours.panel;
  ctx.fillRect(0, 0, box.width, box.height + 30);
  Object.assign(ctx, { fillStyle: colours.ink, font: `600 14px ${FONT}` });
  ctx.fillText(about.title, 12, 20);
  for (const plot of document.querySelectorAll(".plot canvas")) {
    const at = plot.getBoundingClientRect();
    if (at.width) ctx.drawImage(plot, at.left - box.left, at.top - box.top + 30, at.width, at.height);
  }
  for (const text of document.querySelectorAll("h2[data-heading], [data-table] td, [data-table] th")) {
    const at = text.getBoundingClientRect();
    ctx.font = `11.5px ${FONT}`;
    if (at.width) ctx.fillText(text.textContent, at.left - box.left, at.top - box.top + 42);
  }
  canvas.toBlob((blob) => save("explorer.png", blob), "image/png");
  return map;
}
