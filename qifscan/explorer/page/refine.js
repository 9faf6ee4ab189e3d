// A box on the map: a new scan of that part, as TOML and Python.

import { ask, submitted, tokenFragment } from "./api.js";
import { copy, save } from "./export.js";
import { placed, view } from "./view.js";

export class RefineDialog {
  constructor(dialog, about, say) {
    Object.assign(this, { dialog, about, say });
    const get = (name) => dialog.querySelector(`[data-${name}]`);
    Object.assign(this, { told: get("told"), text: get("text"), command: get("command"), factor: get("factor") });
    this.factor.onchange = () => this.fill();
    for (const button of dialog.querySelectorAll("[data-copy]")) {
      button.onclick = async () => { await copy(this.answer[button.dataset.copy]); say(`${button.textContent.replace("Copy ", "")} copied`); };
    }
    get("submit").hidden = !("service" in document.body.dataset);
    get("submit").onclick = () => this.submit();
    get("save").onclick = () => save("refined.toml", new Blob([this.answer.toml], { type: "application/toml" }));
  }

  open(map, box) {
    this.within = {};
    if (view.x) this.within[view.x] = box.x.map((v) => map.cx.scale.value(v));
    if (view.y) this.within[view.y] = box.y.map((v) => map.cy.scale.value(v));
    this.fill();
  }

  /** Submit the new scan to the service, and open it: its map fills while it runs. */
  async submit() {
    try {
      const { jobID } = await submitted(this.answer.toml, "../../");
      location.assign(`../${encodeURIComponent(jobID)}/${tokenFragment()}`);
    } catch (error) {
      this.say(error.message);
    }
  }

  async fill() {
    try {
      this.answer = await ask("refine", { ...placed(), within: this.within, factor: Number(this.factor.value) });
    } catch (error) {
      return void this.say(error.message);
    }
    const sizes = Object.entries(this.answer.sizes).map(([name, n]) => `${name} ${n}`).join(" × ");
    this.told.textContent = `${this.answer.points.toLocaleString("en")} points: ${sizes}. What was run is taken over.`;
    this.text.textContent = shortened(this.answer.toml);
    this.command.textContent = this.answer.command;
    if (!this.dialog.open) this.dialog.showModal();
  }
}

/** Long lists of values are cut for looking at; copied is everything. */
const shortened = (text) => text.replace(/\[([^\][]{160})[^\][]*\]/g, (_, head) => `[${head.replace(/,[^,]*$/, "")}, …]`);
