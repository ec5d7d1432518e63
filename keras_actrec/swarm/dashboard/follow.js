"use strict";

// The graph of who follows whom after a round, as SVG.

const SIZE = 320, NODE = 17, SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, parent, title) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (title) shape("title", {}, made).textContent = title;
  parent.append(made);
  return made;
}

function places(count) {
  const radius = count === 1 ? 0 : (SIZE / 2 - NODE - 14) * (count === 4 ? 1.2 : 1);
  return Array.from({ length: count }, (_, index) => {
    const angle = (2 * Math.PI * index) / count - (count === 4 ? (3 * Math.PI) / 4 : Math.PI / 2);
    return [SIZE / 2 + radius * Math.cos(angle), SIZE / 2 + radius * Math.sin(angle)];
  });
}

// Bent to one side, so that two arrows between the same two particles lie apart.
function bow(from, to, bend, node) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy);
  const middle = [(from[0] + to[0]) / 2 - (dy / length) * bend, (from[1] + to[1]) / 2 + (dx / length) * bend];
  const towards = (point, distance) => {
    const [x, y] = [middle[0] - point[0], middle[1] - point[1]];
    const size = Math.hypot(x, y);
    return [point[0] + (x / size) * distance, point[1] + (y / size) * distance];
  };
  const [start, end] = [towards(from, node + 2), towards(to, node + 5)];
  return `M${start} Q${middle} ${end}`;
}

function arrowHead(defs, name, color, size) {
  const head = shape("marker", { id: name, viewBox: "0 0 10 10", refX: 7, refY: 5, markerWidth: size, markerHeight: size, markerUnits: "userSpaceOnUse", orient: "auto" }, defs);
  shape("path", { d: "M0 0 10 5 0 10z", fill: color }, head);
}

function neighboursOf(move) {
  const others = move.order.filter((other) => other !== move.particle);
  return others.map((other, place) => [other, move.weights[place] ?? null]);
}

// Weights of very different sizes are told apart by their logarithms.
function widths(moves) {
  const weights = moves.flatMap(neighboursOf).map(([, weight]) => weight).filter((weight) => weight > 0).map(Math.log10);
  const [low, high] = [Math.min(...weights), Math.max(...weights)];
  return (weight) => (!(weight > 0) ? 0.6 : high - low < 1e-9 ? 2 : 0.8 + (3.2 * (Math.log10(weight) - low)) / (high - low));
}

function drawFollow(round) {
  const moves = [...(swarm.moves.get(round)?.values() ?? [])].sort((a, b) => a.particle - b.particle);
  const count = swarm.state.particles.length;
  const node = Math.max(8, Math.min(NODE, (SIZE / count) * 0.9));
  const where = places(count);
  const svg = shape("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": followText(round, moves), class: count > 6 ? "graph many" : "graph" }, document.createDocumentFragment());
  const defs = shape("defs", {}, svg);
  arrowHead(defs, "head-thin", "#8a94a6", 9);
  const width = widths(moves);
  for (const move of moves) {
    for (const [other, weight] of neighboursOf(move)) {
      const title = `${nameOf(move.particle)} learns from ${nameOf(other)}, weight ${number(weight, 3)}`;
      shape("path", { d: bow(where[move.particle], where[other], 12, node), class: "neighbour", "stroke-width": width(weight), "marker-end": "url(#head-thin)" }, svg, title);
    }
  }
  for (const move of moves) drawPull(svg, defs, move, where, node);
  where.forEach((place, index) => drawNode(svg, place, index, node, moves));
  document.getElementById("follow").replaceChildren(svg);
}

function drawPull(svg, defs, move, where, node) {
  const color = colourOf(move.particle);
  if (move.chosen === move.particle) {
    const [cx, cy] = where[move.particle];
    shape("circle", { cx, cy, r: node + 6, class: "pull", stroke: color }, svg, `${nameOf(move.particle)}: its own best pulls`);
    return;
  }
  arrowHead(defs, `head-${move.particle}`, color, 15);
  const attributes = { d: bow(where[move.particle], where[move.chosen], -26, node), class: "pull", stroke: color, "marker-end": `url(#head-${move.particle})` };
  shape("path", attributes, svg, `the best of ${nameOf(move.chosen)} pulls ${nameOf(move.particle)}`);
}

function drawNode(svg, [cx, cy], index, node, moves) {
  const took = moves.some((move) => move.particle === index);
  shape("circle", { cx, cy, r: node, fill: took ? colourOf(index) : "#c3cad6" }, svg, nameOf(index));
  const text = shape("text", { x: cx, y: cy, class: "node", "font-size": node * 0.9 }, svg);
  text.textContent = String(index + 1);
}

function followText(round, moves) {
  const said = moves.map((move) =>
    move.chosen === move.particle ? `${nameOf(move.particle)} its own best` : `${nameOf(move.particle)} the best of ${nameOf(move.chosen)}`);
  return `After round ${round} each particle follows: ${said.join(", ")}`;
}
