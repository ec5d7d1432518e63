"use strict";

const EVERY_MS = 1000, ENDED_EVERY_MS = 10000, SLOWEST_MS = 30000, PATIENCE_MS = 10000;
const { mode, source } = document.body.dataset;
const chosen = { metric: null, particle: 0, round: null };
let failures = 0;
let lastSeen = null;
let timer = null;
let asking = false;

const byId = (id) => document.getElementById(id);

function drawHeader() {
  const { name, standing, message, round, rounds: all, elapsed_sec: elapsed, model, data, seed, settings } = swarm.state;
  const moving = [settings?.dynamic, settings?.variant].filter(Boolean).join(", ");
  document.title = `${name}: ${standing}`;
  write(byId("name"), name);
  write(byId("about"), [model && data && `${model} on ${data}`, `${swarm.state.particles.length} particles`, moving, `seed ${seed}`].filter(Boolean).join(" \u00b7 "));
  byId("standing").className = `badge ${ENDED.includes(standing) || /^[a-z]+$/.test(standing) ? standing : ""}`;
  write(byId("standing"), standing);
  write(byId("message"), message || ending(standing));
  write(byId("round"), `round ${round} of ${all}`);
  write(byId("elapsed"), `${duration(elapsed)} elapsed`);
  drawButtons(standing);
}

function ending(standing) {
  if (standing === "finished") return "The swarm has ended.";
  return standing === "stopped" ? "The swarm has been stopped before its end; it can be resumed." : "";
}

function drawButtons(standing) {
  show("buttons", mode === "live" && !ENDED.includes(standing));
  write(byId("pause"), standing === "paused" ? "Continue" : "Pause");
  byId("pause").disabled = byId("stop").disabled = standing === "stopping";
}

// One button for each of several choices; the pressed one is said to be pressed.
function choice(id, names, value, choose) {
  const place = byId(id);
  const wanted = JSON.stringify(Object.entries(names));
  if (place.dataset.names !== wanted) {
    place.dataset.names = wanted;
    place.replaceChildren(...Object.entries(names).map(([key, name]) => {
      const button = element("button", { type: "button", "data-key": key }, name);
      button.addEventListener("click", () => { choose(key); drawAll(); });
      return button;
    }));
  }
  for (const button of place.children) button.setAttribute("aria-pressed", String(button.dataset.key === String(value)));
}

function drawCurves() {
  const any = swarm.publications.some((known) => known?.length);
  for (const id of ["finished-rounds", "finished-too"]) show(id, any);
  show("no-rounds", !any);
  if (!any) return;
  const found = metricsFound();
  const usual = swarm.state.settings?.fitness === "val_loss" && !found.includes("val_accuracy") ? "val_loss" : "val_accuracy";
  if (chosen.metric === null || !found.includes(chosen.metric)) chosen.metric = found.includes(usual) ? usual : found[0] ?? null;
  choice("metrics", Object.fromEntries(found.map((key) => [key, METRICS[key]])), chosen.metric, (key) => { chosen.metric = key; });
  draw("curves", curvesChart(chosen.metric ?? "val_accuracy"));
  draw("rates", ratesChart());
  draw("times", timesChart());
}

function drawMoves() {
  const known = rounds();
  const any = known.length > 0;
  for (const id of ["moves", "moved", "moved-too", "slider"]) show(id, any);
  show("no-moves", !any);
  byId("decisions").hidden = !any;
  if (!any) return;
  const slider = byId("when");
  slider.max = known.length;
  const place = chosen.round === null ? known.length : known.indexOf(chosen.round) + 1;
  slider.value = place;
  drawRound(known[place - 1]);
  draw("distances", distancesChart());
  const names = Object.fromEntries(swarm.state.particles.map((particle) => [particle.index, String(particle.index + 1)]));
  choice("whose", names, chosen.particle, (key) => { chosen.particle = Number(key); });
  draw("terms", termsChart(chosen.particle));
}

function drawRound(round) {
  write(byId("chosen-round"), String(round));
  byId("when").setAttribute("aria-valuetext", `after round ${round}`);
  drawFollow(round);
  drawDecisions(round);
  draw("distance-map", distanceMap(round));
}

function drawAll() {
  drawHeader();
  drawCards();
  drawResult();
  drawCurves();
  drawMoves();
  drawLog();
}

function take(update) {
  if (swarm.state !== null && swarm.state.directory !== update.state.directory) return location.reload();
  const isFirst = swarm.state === null;
  merge(update);
  const isNew = update.publications.length + update.moves.length > 0;
  if (isFirst || isNew) drawAll();
  else [drawHeader, drawCards, drawResult, drawLog].forEach((part) => part());
  if (!update.more) document.body.dataset.ready = "yes";
}

async function fetchJson(address, options = {}) {
  const answer = await fetch(address, { ...options, credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
  return answer.json();
}

async function ask() {
  try {
    const update = await fetchJson(`${source}?${new URLSearchParams(swarm.cursor)}`);
    failures = 0;
    lastSeen = new Date();
    return update;
  } catch (error) {
    failures += 1;
    report(error);
    return null;
  }
}

// One question at a time: two answers to the same one would count its news twice.
async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const update = await ask();
  const more = update !== null && update.more;
  if (more || mode === "live" || failures) timer = setTimeout(poll, pause(more));
  asking = false;
  if (update !== null) {
    show("problem", false);
    take(update);
  }
}

function pause(more) {
  if (more) return 0;
  if (failures) return Math.min(SLOWEST_MS, EVERY_MS * 2 ** failures);
  return ended() || document.hidden ? ENDED_EVERY_MS : EVERY_MS;
}

function report(error) {
  const since = lastSeen ? ` What is shown is from ${lastSeen.toLocaleTimeString([], { hour12: false })}.` : "";
  const saved = swarm.state && mode === "live" ? ` If the swarm has ended, report.html in ${swarm.state.directory} shows this page.` : "";
  let text = `Server not reachable.${since} Trying again in ${Math.round(pause(false) / 1000)} s.${saved}`;
  if (error.status === 401) text = "The server asks for its token: reload the page.";
  else if (error.status) text = `The server cannot answer: ${detail(error.message)}${since}`;
  else if (ended()) text = `The swarm has ended and so has its server; report.html in its directory shows this page.${since}`;
  write(byId("problem"), text);
  byId("problem").classList.toggle("calm", ended());
  show("problem", true);
}

function detail(text) {
  try {
    return JSON.parse(text).detail ?? text;
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

async function command(name) {
  const buttons = [byId("pause"), byId("stop")];
  buttons.forEach((button) => { button.disabled = true; });
  try {
    swarm.state = await fetchJson(`/api/${name}`, { method: "POST", headers: { "X-Swarm": "page" } });
    drawHeader();
    drawCards();
  } catch (error) {
    write(byId("problem"), `The swarm did not ${name}: ${error.status ? detail(error.message) : "server not reachable."}`);
    show("problem", true);
    drawButtons(swarm.state.standing);
  }
}

byId("pause").addEventListener("click", () => command(swarm.state.standing === "paused" ? "continue" : "pause"));
byId("stop").addEventListener("click", () => { byId("confirm").returnValue = ""; byId("confirm").showModal(); });
byId("confirm").addEventListener("close", () => { if (byId("confirm").returnValue === "yes") command("stop"); });
byId("when").addEventListener("input", (event) => {
  const known = rounds();
  const place = Number(event.target.value);
  chosen.round = place === known.length ? null : known[place - 1];
  drawRound(known[place - 1]);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && mode === "live") poll(); });

// The token is in a cookie now; it need not stay in the address.
if (location.protocol !== "file:" && new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);

if (mode === "saved") take(JSON.parse(byId("data").textContent));
else poll();
