// The front page of a server: its scans with their progress, one to open, one to submit.

import { takeToken, tokenFragment, withToken } from "./api.js";

const get = (id) => document.getElementById(id);
const AGAIN = 1500; // ms between two looks

const EXAMPLE = `title = "Bistable wedge"
observables = ["r_mean", "r_min", "r_max"]

[axes]
eta = { linspace = [-8, -2, 128] }
J = { linspace = [8, 20, 128] }
initial = ["down", "up"]

[protocol]
transient = 50.0
window = 50.0
`;

async function fetched(path, options = {}) {
  const response = await fetch(path, { ...options, cache: "no-store", headers: withToken({ accept: "application/json", ...options.headers }) });
  const body = await response.json();
  if (!response.ok) throw new Error((body.errors ?? [body.detail ?? response.statusText]).join("\n"));
  return body;
}

const part = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

function row(job) {
  const made = part("div", undefined, `job ${job.status}`);
  made.dataset.job = job.jobID;
  const link = part("a", job.title || job.jobID.slice(0, 12));
  // The token stays in this page's memory, and goes along in the fragment.
  link.href = `explore/${encodeURIComponent(job.jobID)}/${tokenFragment()}`;
  const bar = part("progress");
  Object.assign(bar, { max: 100, value: job.progress ?? 0 });
  const told = job.points ? `${job.points[0].toLocaleString("en")} of ${job.points[1].toLocaleString("en")} points` : job.message ?? "";
  made.append(link, part("span", job.status, "status"), bar, part("span", told, "told"));
  if (job.status === "running" || job.status === "accepted") {
    const stop = part("button", "stop");
    stop.type = "button";
    stop.onclick = () => fetched(`jobs/${encodeURIComponent(job.jobID)}`, { method: "DELETE" }).then(list, refused);
    made.append(stop);
  } else if (job.status === "failed") made.append(part("span", job.message, "told"));
  return made;
}

function refused(error) { get("refused").textContent = error.message; }

let shown = "";
async function list() {
  try {
    const { jobs } = await fetched("jobs?limit=200");
    const scans = jobs.filter((job) => job.processID === "scan");
    get("state").textContent = scans.length === 1 ? "1 scan" : `${scans.length} scans`;
    const now = JSON.stringify(scans);
    if (now === shown) return;
    shown = now;
    get("jobs").replaceChildren(...(scans.length ? scans.map(row) : [part("p", "No scan yet: submit one below.", "told")]));
  } catch (error) {
    get("state").textContent = error.message;
  }
}

async function submit() {
  get("refused").textContent = "";
  get("submit").disabled = true;
  try {
    await fetched("processes/scan/execution", {
      method: "POST",
      headers: { "content-type": "application/json", prefer: "respond-async" },
      body: JSON.stringify({ inputs: { scan: get("scan").value } }),
    });
    await list();
  } catch (error) {
    refused(error);
  }
  get("submit").disabled = false;
}

function setDark(dark) { document.documentElement.dataset.theme = dark ? "dark" : "light"; }

takeToken();
setDark(matchMedia("(prefers-color-scheme: dark)").matches);
get("dark").onclick = () => setDark(document.documentElement.dataset.theme !== "dark");
get("scan").value = EXAMPLE;
get("submit").onclick = submit;
get("file").onchange = async () => { get("scan").value = await get("file").files[0].text(); };
list();
setInterval(() => { if (!document.hidden) list(); }, AGAIN);
