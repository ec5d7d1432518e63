"use strict";

const ENDED = ["stopped", "finished", "failed"];

// All that is known of the swarm. `publications[i]` are those of particle i by ascending round, `moves.get(r)` those
// after round r by particle.
const swarm = {
  state: null,
  publications: [],
  moves: new Map(),
  events: [],
  cursor: { publication: 0, move: 0, event: 0 },
};

function merge(update) {
  swarm.state = update.state;
  for (const publication of update.publications) {
    const known = (swarm.publications[publication.particle] ??= []);
    known.push(publication);
    if (known.length > 1 && known.at(-2).round > publication.round) known.sort((a, b) => a.round - b.round);
  }
  for (const move of update.moves) {
    if (!swarm.moves.has(move.round)) swarm.moves.set(move.round, new Map());
    swarm.moves.get(move.round).set(move.particle, move);
  }
  swarm.events.push(...update.events);
  swarm.cursor = update.cursor;
}

const ended = () => swarm.state !== null && ENDED.includes(swarm.state.standing);
const rounds = () => [...swarm.moves.keys()].sort((a, b) => a - b);
const published = (particle) => swarm.publications[particle] ?? [];
const movesOf = (particle) => rounds().map((round) => swarm.moves.get(round).get(particle)).filter(Boolean);

function nameOf(index) {
  return swarm.state.particles[index]?.name ?? `particle-${index + 1}`;
}

// Beyond eight particles the lines are dashed, and each particle has a marker of its own.
const COLOURS = document.body.dataset.colours.split(" ");
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon"];
const colourOf = (index) => COLOURS[index % COLOURS.length];
const dashOf = (index) => DASHES[Math.floor(index / COLOURS.length) % DASHES.length];
const symbolOf = (index) => SYMBOLS[(index + Math.floor(index / COLOURS.length)) % SYMBOLS.length];

// Numbers for people.

function number(value, digits = 4) {
  if (value === null || value === undefined || value === "") return "\u2013";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(Math.max(digits - 2, 1)).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(digits)));
}

const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : number(value));

function duration(seconds) {
  if (typeof seconds !== "number") return "\u2013";
  const whole = Math.max(0, Math.floor(seconds));
  const two = (part) => String(part).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

// The fitness as people know it: a loss is minus the fitness.
const fitnessName = () => (swarm.state.settings?.fitness === "val_accuracy" ? "val. accuracy" : "val. loss");
function fitness(value) {
  if (typeof value !== "number") return number(value);
  return swarm.state.settings?.fitness === "val_accuracy" ? percent(value) : number(-value);
}
