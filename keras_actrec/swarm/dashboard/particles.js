"use strict";

// Cards, tables and the log. All data goes in as text, never as HTML.

const SHOWN = 500;
const TROUBLE = ["lost", "failed"];

function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content.map((item) => (item instanceof Node ? item : String(item ?? ""))));
  return made;
}

// Writes only what is new, so that a reader's selection stays.
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

const show = (id, visible) => { document.getElementById(id).hidden = !visible; };
const cards = [];

function makeCard(index) {
  const field = (name) => element("span", { class: name });
  const parts = Object.fromEntries(["name", "phase", "message", "round", "rate", "now", "best", "restarts", "silent"].map((name) => [name, field(name)]));
  const progress = element("progress", { max: 1, value: 0, "aria-label": "progress of the round" });
  const facts = element("dl");
  const named = { round: "round", rate: "learning rate", now: fitnessName(), best: "best", restarts: "restarts", silent: "last sign" };
  for (const [name, title] of Object.entries(named)) facts.append(element("div", {}, element("dt", {}, title), element("dd", {}, parts[name])));
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colourOf(index);
  const card = element("article", { class: "particle" }, element("h3", {}, swatch, parts.name, parts.phase), progress, facts, parts.message);
  card.style.borderLeftColor = colourOf(index);
  document.getElementById("particles").append(card);
  return { card, progress, ...parts };
}

function drawCards() {
  swarm.state.particles.forEach((particle, place) => fillCard((cards[place] ??= makeCard(particle.index)), particle));
}

function fillCard(card, particle) {
  card.card.classList.toggle("trouble", TROUBLE.includes(particle.phase));
  card.phase.className = `phase ${/^[a-z]+$/.test(particle.phase) ? particle.phase : ""}`;
  card.progress.hidden = !particle.batches || particle.phase === "finished";
  card.progress.value = particle.batches ? particle.batch / particle.batches : 0;
  const batches = !card.progress.hidden ? `, batch ${particle.batch} of ${particle.batches}` : "";
  write(card.name, particle.name);
  write(card.phase, particle.phase);
  write(card.round, `${number(particle.round)}${batches}`);
  write(card.rate, number(particle.learning_rate, 3));
  write(card.now, fitness(particle.fitness));
  write(card.best, particle.best_round ? `${fitness(particle.best_fitness)} in round ${particle.best_round}` : "\u2013");
  write(card.restarts, number(particle.restarts));
  write(card.silent, ended() ? "\u2013" : ago(particle.silent_sec));
  write(card.message, particle.message || "");
}

function ago(seconds) {
  if (typeof seconds !== "number") return "\u2013";
  return seconds < 10 ? `${seconds.toFixed(1)} s ago` : `${duration(seconds)} ago`;
}

function table(place, headings, rows) {
  const head = element("thead", {}, element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, text))));
  place.replaceChildren(head, element("tbody", {}, ...rows));
}

const rateText = (rate) => (Array.isArray(rate) ? rate.map((end) => number(end, 3)).join(" to ") : number(rate, 3));

const resultHeadings = () => ["particle", "val. top-1", "test top-1", "test top-5", "coverage", fitnessName(), "best round", "learning rate", "run"];

function drawResult() {
  const result = swarm.state.result;
  show("result", Boolean(result));
  if (!result) return;
  const best = result.particles.find((particle) => particle.index === result.best);
  write(document.getElementById("verdict"), best ? `The best particle, chosen by the validation split, is ${best.name}.` : "");
  const rows = result.particles.map((particle) => {
    const star = particle.index === result.best ? " \u2605" : "";
    const shares = [particle.validation_top1, particle.test_top1, particle.test_top5, particle.coverage].map(percent);
    const best = [fitness(particle.best_fitness), number(particle.best_round), rateText(particle.learning_rate)];
    const cells = [particle.name + star, ...shares, ...best, particle.run ?? ""];
    return element("tr", star ? { class: "chosen" } : {}, ...cells.map((text) => element("td", {}, text)));
  });
  table(document.getElementById("results"), resultHeadings(), rows);
}

function drawDecisions(round) {
  const moves = [...(swarm.moves.get(round)?.values() ?? [])].sort((a, b) => a.particle - b.particle);
  const rows = moves.map((move) => {
    const neighbours = neighboursOf(move).map(([other, weight]) => `${nameOf(other)} (${number(weight, 3)})`);
    const cells = [nameOf(move.particle), nameOf(move.chosen), neighbours.join(", ") || "\u2013", move.draws.map((draw) => number(draw, 3)).join(", "), number(move.terms.total, 3)];
    return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
  });
  table(document.getElementById("decisions"), ["particle", "pulled by the best of", "neighbours, nearest first (weight)", "r1, r2", "size of its move"], rows);
}

let logged = 0;

function drawLog() {
  const log = document.getElementById("log");
  for (const event of swarm.events.slice(Math.max(logged, swarm.events.length - SHOWN))) log.prepend(logLine(event));
  logged = swarm.events.length;
  while (log.children.length > SHOWN) log.lastChild.remove();
}

function logLine(event) {
  const at = new Date(1000 * event.at);
  const who = event.particle === null ? [] : [element("b", {}, nameOf(event.particle)), " "];
  const level = ["warning", "error"].includes(event.level) ? event.level : "info";
  const time = element("time", { datetime: at.toISOString(), title: at.toLocaleString() }, at.toLocaleTimeString([], { hour12: false }));
  const text = element("span", { class: "text" }, ...(level === "info" ? [] : [element("em", {}, level), " "]), ...who, event.text);
  return element("li", { class: level }, time, text);
}
