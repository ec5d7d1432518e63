"use strict";
// The page: asks the server for rounds, plays them, and hands them to draw.js. No mathematics of swarms stands here.

const byId = (id) => document.getElementById(id);

// name, label, lowest, highest, step, first value, what it does, the dynamics that use it
const SLIDERS = [
  ["c1", "c1", 0, 2, 0.05, 0.5, "pull to the best place of its own", ["dynamic_1 paper"]],
  ["c2", "c2", 0, 2, 0.05, 0.5, "pull to the best place of its neighbourhood",
    ["dynamic_1", "dynamic_2", "towards_best"]],
  ["strength", "M", 0, 2, 0.05, 0.2, "how much it learns from its neighbours", ["dynamic_1", "dynamic_2"]],
  ["beta", "beta", 0.1, 5, 0.1, 1, "how fast that fades with distance", ["dynamic_1", "dynamic_2"]],
  ["neighbours", "k", 0, 59, 1, 4, "the nearest neighbours, which it knows of; at most N - 1",
    ["dynamic_1", "dynamic_2", "towards_best", "average"]],
  ["particles", "particles", 1, 60, 1, 12, "N; begins a new swarm", null],
  ["rate", "learning rate", 0, 0.2, 0.005, 0.05, "length of a step downhill, where it is steep", null],
  ["steps", "steps", 1, 50, 1, 1, "of training between two moves", null],
  ["seed", "seed", 0, 99, 1, 1, "first places and random numbers; begins a new swarm", null],
  ["speed", "speed", 0.5, 20, 0.5, 3, "rounds per second", null],
];
const FRESH = new Set(["particles", "seed"]);
const F = "f(z) = M / (1 + z)^beta";
const EQUATIONS = {
  "dynamic_1 paper": "next = after\n  + sum_j f(|before - before_j|) (after_j - before_j)\n  + c1 r1 (own best - after)\n" +
    `  + c2 r2 (neighbourhood's best - after)\n${F}`,
  "dynamic_1 released": "next = after\n  + sum_j f(|after - after_j|) (after_j - before_j)\n" +
    `  + c2 r2 (neighbourhood's best - after)\n${F}`,
  "dynamic_2 paper": "next = after\n  + sum_j f(|before - before_j|^2) after_j\n" +
    `  + c2 r2 (neighbourhood's best - before)\n${F}`,
  "dynamic_2 attract": "next = after\n  + sum_j f(|before - before_j|^2) (after_j - after)\n" +
    `  + c2 r2 (neighbourhood's best - before)\n${F}`,
  "dynamic_2 released": "next = after\n  + sum_j f(|after - after_j|) (after_j - before_j + own rate * after_j)\n" +
    `  + c2 r2 (neighbourhood's best - after)\n${F}`,
  "towards_best paper": "next = after + c2 r2 (neighbourhood's best - after)",
  "average paper": "next = mean of after and all after_j",
  "none paper": "next = after",
};
const AHEAD = 6;

const swarm = { begin: null, frames: [], queue: [], at: 0, share: 1, playing: false, asking: null, version: 0, begun: 0 };
let land = null;

function makeSliders() {
  for (const [name, label, low, high, step, first, says] of SLIDERS) {
    const box = document.createElement("label");
    const head = document.createElement("span");
    head.className = "head";
    const title = document.createElement("b");
    title.textContent = label;
    const shown = document.createElement("output");
    const input = Object.assign(document.createElement("input"), { type: "range", id: name, min: low, max: high, step });
    input.value = first;
    shown.textContent = input.value;
    const small = document.createElement("small");
    small.textContent = says;
    head.append(title, shown);
    box.append(head, input, small);
    byId("sliders").append(box);
    input.addEventListener("input", () => { shown.textContent = input.value; changed(name); });
  }
}

const value = (name) => Number(byId(name).value);

function rules() {
  const [dynamic, variant] = byId("dynamic").value.split(" ");
  return {
    landscape: byId("landscape").value, dynamic, variant, rates: byId("rates").value,
    particles: value("particles"), neighbours: value("neighbours"), steps: value("steps"), seed: value("seed"),
    c1: value("c1"), c2: value("c2"), beta: value("beta"), strength: value("strength"), rate: value("rate"),
  };
}

// What changes the swarm that runs discards the rounds that were asked for ahead.
function changed(name) {
  if (name === "speed") return;
  explain();
  if (FRESH.has(name)) { reset(); return; }
  swarm.version += 1;
  swarm.queue = [];
}

function explain() {
  const chosen = byId("dynamic").value;
  byId("equation").textContent = EQUATIONS[chosen];
  for (const [name, , , , , , , users] of SLIDERS) {
    const used = users === null || users.some((user) => chosen === user || chosen.split(" ")[0] === user);
    byId(name).closest("label").classList.toggle("idle", !used);
  }
  const keep = byId("whose").value;
  byId("whose").replaceChildren(new Option("all particles", ""),
    ...Array.from({ length: value("particles") }, (_, index) => new Option(`particle ${index + 1}`, String(index))));
  byId("whose").value = Number(keep) < value("particles") ? keep : "";
}

async function ask(path, body) {
  const options = body && {
    method: "POST", headers: { "Content-Type": "application/json", "X-Swarm": "1" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof content.detail === "string" ? content.detail : `the server answers ${answer.status}`);
  return content;
}

function problem(text) {
  byId("problem").hidden = !text;
  byId("problem").textContent = text;
}

async function reset() {
  swarm.version += 1;
  swarm.begun += 1;
  const begun = swarm.begun;
  Object.assign(swarm, { frames: [], queue: [], share: 1 });
  problem("");
  try {
    const field = await ask(`/api/landscapes/${byId("landscape").value}`);
    const { start } = await ask("/api/rounds", { rules: rules(), rounds: 0 });
    if (begun !== swarm.begun) return;
    land = { ...field, relief: relief(field.heights) };
    swarm.begin = start;
    byId("about").textContent = `${field.title}: ${field.about}`;
    document.body.dataset.ready = "yes";
  } catch (error) { if (begun === swarm.begun) stop(error.message); }
  draw();
}

function stop(text) {
  swarm.playing = false;
  byId("play").textContent = "Play";
  problem(text);
}

// Ask for the rounds after the last one that is known.
async function fill() {
  if (swarm.asking || swarm.queue.length >= AHEAD) return swarm.asking;
  const version = swarm.version;
  const last = swarm.queue.at(-1) ?? swarm.frames.at(-1);
  const state = last ? { round: last.round, positions: last.positions, bests: last.bests, losses: last.losses } : null;
  const sent = rules();
  swarm.asking = ask("/api/rounds", { rules: sent, state, rounds: AHEAD })
    .then(({ rounds }) => {
      const pulls = !["average", "none"].includes(sent.dynamic);
      if (version === swarm.version) { swarm.queue.push(...rounds.map((frame) => ({ ...frame, pulls }))); problem(""); }
    })
    .catch((error) => { if (version === swarm.version) stop(error.message); })
    .finally(() => { swarm.asking = null; });
  return swarm.asking;
}

function next() {
  const frame = swarm.queue.shift();
  if (!frame) return false;
  swarm.frames.push(frame);
  swarm.share = 0;
  return true;
}

async function step() {
  stop("");
  while (!swarm.queue.length) {
    await fill();
    if (!byId("problem").hidden) return;
  }
  next();
  swarm.share = 1;
  draw();
}

function play() {
  swarm.playing = !swarm.playing;
  byId("play").textContent = swarm.playing ? "Pause" : "Play";
  if (swarm.playing) { problem(""); swarm.at = performance.now(); requestAnimationFrame(tick); }
}

function tick(now) {
  if (!swarm.playing) return;
  swarm.share += Math.min(now - swarm.at, 1000) / 1000 * value("speed");
  swarm.at = now;
  while (swarm.share >= 1 && swarm.queue.length) {
    const over = swarm.share - 1;
    next();
    swarm.share = Math.min(over, 1);
  }
  fill();
  draw();
  requestAnimationFrame(tick);
}

function draw() {
  if (!land || !swarm.begin) return;
  const last = swarm.frames.at(-1);
  const frame = last ?? { before: swarm.begin, after: swarm.begin, positions: swarm.begin, bests: [] };
  const whose = byId("whose").value === "" ? null : Number(byId("whose").value);
  drawMap(byId("map"), {
    ...land, frame, whose, past: swarm.frames.slice(0, -1), share: Math.min(swarm.share, 1) });
  drawCurve(byId("curve"), swarm.frames);
  tell(last, frame.positions);
}

function tell(last, positions) {
  byId("round").textContent = last ? last.round : 0;
  const lowest = last ? Math.min(...last.losses) : null;
  byId("lowest").textContent = lowest === null ? "-" : lowest < 1e-3 ? lowest.toExponential(1) : lowest.toPrecision(3);
  const near = positions.filter(([x, y]) => land.minima.some(([a, b]) => Math.hypot(x - a, y - b) < 0.02 * land.reach));
  byId("arrived").textContent = `${near.length} of ${positions.length}`;
  const middle = [0, 1].map((axis) => positions.reduce((sum, point) => sum + point[axis], 0) / positions.length);
  const apart = positions.reduce((sum, [x, y]) => sum + Math.hypot(x - middle[0], y - middle[1]), 0) / positions.length;
  byId("spread").textContent = apart < 1e-3 ? apart.toExponential(1) : apart.toPrecision(3);
}

// A click chooses the nearest particle, another one on it all of them.
function choose(event) {
  const last = swarm.frames.at(-1);
  const positions = last ? last.positions : swarm.begin;
  if (!land || !positions) return;
  const box = byId("map").getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width * 2 - 1) * land.reach;
  const y = (1 - (event.clientY - box.top) / box.height * 2) * land.reach;
  const far = positions.map(([a, b]) => Math.hypot(a - x, b - y));
  const nearest = String(far.indexOf(Math.min(...far)));
  byId("whose").value = byId("whose").value === nearest || Math.min(...far) > 0.1 * land.reach ? "" : nearest;
  draw();
}

makeSliders();
explain();
byId("play").addEventListener("click", play);
byId("step").addEventListener("click", step);
byId("reset").addEventListener("click", () => { stop(""); reset(); });
byId("map").addEventListener("click", choose);
byId("whose").addEventListener("change", draw);
for (const name of ["dynamic", "rates"]) byId(name).addEventListener("change", () => changed(name));
byId("landscape").addEventListener("change", reset);
addEventListener("resize", draw);
reset();
