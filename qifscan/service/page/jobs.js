// The front page: the scans of this server as they run, and a form that sends one.

const EXAMPLE = `title = "the bistable wedge"
observables = ["r_mean", "r_std"]

[protocol]
transient = 100.0
window = 100.0

[axes]
eta = { linspace = [-10.0, 2.0, 128] }
J = { linspace = [0.0, 25.0, 128] }
initial = ["down", "up"]
`;

const AGAIN = 2000;
const here = new URL(".", location.href);
const part = (name) => document.getElementById(name);
const known = new Map();
const rows = new Map();
let token = null;

/** A token comes in the fragment, is kept in memory, and leaves the address bar. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("token")) return;
  token = given.get("token");
  given.delete("token");
  history.replaceState(null, "", `${location.pathname}${given.size ? `#${given}` : ""}`);
}

class Refused extends Error {
  constructor(status, lines) {
    super(lines[0]);
    this.status = status;
    this.lines = lines;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
  const answer = await fetch(new URL(path, here), { ...options, headers });
  if (answer.ok) return answer;
  let told = {};
  try { told = await answer.json(); } catch { /* no JSON: the status says it */ }
  throw new Refused(answer.status, told.errors ?? [told.detail ?? `${answer.status} ${answer.statusText}`]);
}

/** Read a stream of events to its end: `fetch`, as an EventSource can't send a token. */
async function listen(path, heard) {
  const answer = await ask(path, { headers: { Accept: "text/event-stream" }, cache: "no-store" });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) heard(JSON.parse(data.join("\n")));
    }
  }
}

const storeOf = (job) => job.links.find((link) => link.rel === "item")?.href.split("/").pop();

function span(seconds) {
  if (seconds >= 7200) return `${(seconds / 3600).toFixed(1)} h`;
  if (seconds >= 120) return `${(seconds / 60).toFixed(1)} min`;
  return `${seconds.toFixed(0)} s`;
}

function made(job) {
  const row = part("job").content.firstElementChild.cloneNode(true);
  const at = (name) => row.querySelector(`.${name}`);
  const path = `jobs/${encodeURIComponent(job.jobID)}`;
  const guarded = (name, act) => at(name).addEventListener("click", async () => {
    at(name).disabled = true;
    try { await act(); } catch (error) { at("message").textContent = error.message; }
    at(name).disabled = false;
  });
  guarded("picture", async () => {
    const image = at("figure");
    if (!image.hidden) { image.hidden = true; return; }
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(await (await ask(`${path}/figure.png`)).blob());
    image.hidden = false;
  });
  guarded("scan", async () => {
    const text = at("text");
    // Not shown before it is there.
    if (text.hidden) text.textContent = await (await ask(`${path}/scan.toml`)).text();
    text.hidden = !text.hidden;
  });
  guarded("python", async () => {
    const code = `import qifscan as qs\n\njob = qs.Client("${here.origin}"${token === null ? "" : ", token=..."})`
      + `.job("${job.jobID}")\nds = job.open()\n`;
    await navigator.clipboard.writeText(code);
    at("message").textContent = "copied";
  });
  guarded("stop", async () => update(await (await ask(path, { method: "DELETE" })).json()));
  guarded("again", async () => send(await (await ask(`${path}/scan.toml`)).text(), job.processID));
  return row;
}

function draw(job) {
  if (!rows.has(job.jobID)) rows.set(job.jobID, made(job));
  const row = rows.get(job.jobID);
  const at = (name) => row.querySelector(`.${name}`);
  const store = storeOf(job);
  const kind = job.processID === "scan" ? "" : ` (${job.processID})`;
  at("title").textContent = `${job.title || "untitled"}${kind}`;
  at("state").textContent = job.status;
  at("state").className = `state ${job.status}`;
  at("id").textContent = job.jobID.slice(0, 12);
  at("id").title = job.jobID;
  const bar = row.querySelector("progress");
  bar.value = job.progress;
  bar.hidden = job.status === "successful";
  const left = job.status === "running" && job.remaining !== undefined ? `, ${span(job.remaining)} left` : "";
  at("message").textContent = `${job.message ?? ""}${left}`;
  const began = job.chunks !== undefined || job.status === "successful";
  at("explore").hidden = job.processID !== "scan" || !began;
  at("explore").href = new URL(`explore/${encodeURIComponent(store)}/`, here)
    + (token === null ? "" : `#token=${encodeURIComponent(token)}`);
  at("picture").hidden = job.processID === "verify" || !began;
  at("python").hidden = job.processID !== "scan" || !began;
  at("stop").hidden = !["accepted", "running"].includes(job.status);
  at("again").hidden = !["failed", "dismissed"].includes(job.status) || job.processID === "verify";
  const time = row.querySelector("time");
  time.dateTime = job.created ?? "";
  time.textContent = job.created ? new Date(job.created).toLocaleString() : "";
}

function order() {
  const asked = part("search").value.trim().toLowerCase();
  const shown = [...known.values()]
    .filter((job) => `${job.title} ${job.status} ${job.jobID} ${job.processID}`.toLowerCase().includes(asked))
    .sort((a, b) => (b.created ?? "").localeCompare(a.created ?? ""));
  const list = part("jobs");
  const wanted = shown.map((job) => rows.get(job.jobID));
  if (wanted.length !== list.children.length || wanted.some((row, i) => row !== list.children[i])) {
    list.replaceChildren(...wanted);
  }
  part("empty").hidden = known.size > 0;
  const running = [...known.values()].filter((job) => job.status === "running").length;
  part("summary").textContent = `${known.size} ${known.size === 1 ? "scan" : "scans"}, ${running} running`;
  document.title = running ? `(${running}) qifscan` : "qifscan";
}

function update(job) {
  known.set(job.jobID, job);
  draw(job);
  order();
}

async function send(scan, process = "scan") {
  const errors = part("errors");
  errors.hidden = true;
  part("sent").textContent = "";
  try {
    const answer = await ask(`processes/${process}/execution`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ inputs: { scan } }),
    });
    const job = await answer.json();
    update(job);
    part("sent").textContent = `${job.jobID.slice(0, 12)} ${job.status}`;
    rows.get(job.jobID).scrollIntoView({ block: "nearest", behavior: "smooth" });
  } catch (error) {
    const lines = (error.lines ?? [error.message]).map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    });
    errors.replaceChildren(...lines);
    errors.hidden = false;
  }
}

function connection(text, lost = false) {
  part("connection").textContent = text;
  part("connection").classList.toggle("lost", lost);
}

/** Read the list, then hear what changes; where the server is gone, try again. */
async function follow() {
  for (;;) {
    try {
      const { jobs } = await (await ask("jobs?limit=1000", { cache: "no-store" })).json();
      part("token-form").hidden = true;
      for (const job of jobs) { known.set(job.jobID, job); draw(job); }
      order();
      connection("live");
      await listen("events", update);
    } catch (error) {
      if (error.status === 401) {
        part("token-form").hidden = false;
        connection("no token");
        return;
      }
    }
    connection("the server is gone; trying again", true);
    await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
  }
}

takeToken();
// A link carries no token.
part("api").hidden = token !== null;
part("toml").value = EXAMPLE;
part("search").addEventListener("input", order);
part("run").addEventListener("click", async () => {
  part("run").disabled = true;
  await send(part("toml").value);
  part("run").disabled = false;
});
part("toml").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("run").click();
});
part("toml").addEventListener("dragover", (event) => { event.preventDefault(); part("toml").classList.add("over"); });
part("toml").addEventListener("dragleave", () => part("toml").classList.remove("over"));
part("toml").addEventListener("drop", async (event) => {
  event.preventDefault();
  part("toml").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) part("toml").value = await file.text();
});
part("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = part("token").value.trim();
  part("token").value = "";
  follow();
});
follow();
