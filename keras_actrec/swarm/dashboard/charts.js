"use strict";

const INK = "#1c2430", GREY = "#5b6678", GRID = "#e4e8ee";
const SCALE = [[0, "#f8fafc"], [0.02, "#e0eaff"], [0.25, "#a9c4fb"], [0.6, "#4f83f1"], [1, "#1e3a8a"]];
const FONT = { family: "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", size: 13, color: INK };
const METRICS = {
  val_accuracy: "Validation accuracy",
  val_loss: "Validation loss",
  loss: "Training loss",
  accuracy: "Training accuracy",
};
const TERMS = {
  own: ["own displacement", INK, "solid", "circle"],
  neighbours: ["neighbours", "#e69f00", "solid", "square"],
  own_best: ["to its own best", "#009e73", "dash", "diamond"],
  neighbourhood_best: ["to the neighbourhood's best", "#0072b2", "dash", "triangle-up"],
  total: ["whole move", "#b5609a", "dot", "cross"],
};
const TIMES = { train: ["training", "#2563eb", "#ffffff"], exchange: ["exchange", "#d97706", "#ffffff"], wait: ["waiting", "#c3cad6", INK] };
const FEW = 8;

// Plotly reads a little HTML in labels.
const label = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function axis(title = "", more = {}) {
  return { gridcolor: GRID, zerolinecolor: GRID, automargin: true, title: { text: title, font: { size: 13, color: GREY }, standoff: 8 }, ...more };
}

function roundAxis() {
  const last = Math.max(1, ...swarm.publications.map((known) => known?.at(-1)?.round ?? 0));
  const end = Math.max(last, Math.min(swarm.state.rounds || last, Math.ceil(1.25 * last) + 1));
  return axis("round", { range: [0.6, end + 0.4], tickformat: "d", ...(end <= 12 ? { dtick: 1 } : { nticks: 10 }) });
}

// Over several decades only the powers of ten are named.
function logAxis(lines) {
  const values = lines.flatMap((one) => one.y).filter((value) => value > 0).map(Math.log10);
  const span = values.length ? Math.max(...values) - Math.min(...values) : 0;
  return axis("", { type: "log", exponentformat: "power", dtick: span > 1.5 || span < 0.3 ? 1 : "D2" });
}

function layout(more) {
  return {
    margin: { l: 48, r: 12, t: 12, b: 44 },
    font: FONT,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: false,
    uirevision: "kept",
    ...more,
  };
}

function line(index, x, y, format, more = {}) {
  return {
    type: "scatter",
    mode: x.length <= 60 ? "lines+markers" : "lines",
    name: label(nameOf(index)),
    x,
    y,
    line: { color: colourOf(index), width: 2, dash: dashOf(index) },
    marker: { color: colourOf(index), symbol: symbolOf(index), size: 7 },
    hovertemplate: `round %{x}: %{y:${format}}`,
    ...more,
  };
}

const everyParticle = (draw) => swarm.state.particles.map((particle) => draw(particle.index));
const hover = () => (swarm.state.particles.length <= FEW ? "x unified" : "closest");

function metricsFound() {
  const found = new Set(swarm.publications.flatMap((known) => Object.keys(known?.at(-1)?.row ?? {})));
  return Object.keys(METRICS).filter((key) => found.has(key));
}

function curvesChart(metric) {
  const share = metric.endsWith("accuracy");
  const data = everyParticle((index) => {
    const known = published(index);
    const best = known.at(-1)?.best_round;
    const plain = symbolOf(index);
    return line(index, known.map((p) => p.round), known.map((p) => p.row[metric] ?? null), share ? ".1%" : ".4g", {
      mode: "lines+markers",
      marker: {
        color: colourOf(index),
        symbol: known.map((p) => (p.round === best ? "star" : plain)),
        size: known.map((p) => (p.round === best ? 14 : known.length <= 60 ? 7 : 0)),
        opacity: 1,
        line: { width: 0 },
      },
    });
  });
  const yaxis = axis("", share ? { tickformat: ".0%" } : { exponentformat: "power" });
  return { data, layout: layout({ xaxis: roundAxis(), yaxis, hovermode: hover(), showlegend: true }) };
}

function ratesChart() {
  const data = everyParticle((index) =>
    line(index, published(index).map((p) => p.round), published(index).map((p) => p.learning_rate), ".3g"));
  const yaxis = logAxis(data);
  return { data, layout: layout({ xaxis: roundAxis(), yaxis, hovermode: hover(), showlegend: data.length <= FEW }) };
}

// One line per pair of few particles; of many, each one's mean distance to the others.
function distancesChart() {
  const count = swarm.state.particles.length;
  const data = count <= 5 ? pairLines(count) : everyParticle((index) => {
    const moves = movesOf(index);
    return line(index, moves.map((move) => move.round), moves.map(meanDistance), ".4g");
  });
  const yaxis = axis(count <= 5 ? "" : "mean to the others", { rangemode: "tozero", exponentformat: "power" });
  return { data, layout: layout({ xaxis: roundAxis(), yaxis, hovermode: hover(), showlegend: data.length <= 12 }) };
}

function meanDistance(move) {
  const others = move.distances.filter((_, place) => move.members[place] !== move.particle);
  return others.length ? others.reduce((sum, value) => sum + value, 0) / others.length : null;
}

function pairLines(count) {
  const lines = [];
  for (let first = 0; first < count; first++) {
    for (let second = first + 1; second < count; second++) {
      const found = rounds().map((round) => [round, distance(round, first, second)]).filter(([, value]) => value !== null);
      lines.push(line(first, found.map(([round]) => round), found.map(([, value]) => value), ".4g", {
        name: `${first + 1} \u2013 ${second + 1}`,
        marker: { color: colourOf(second), symbol: symbolOf(second), size: 8 },
      }));
    }
  }
  return lines;
}

function distance(round, first, second) {
  const moves = swarm.moves.get(round);
  for (const [from, to] of [[first, second], [second, first]]) {
    const move = moves?.get(from);
    const place = move ? move.members.indexOf(to) : -1;
    if (place >= 0) return move.distances[place];
  }
  return null;
}

function distanceMap(round) {
  const indices = swarm.state.particles.map((particle) => particle.index);
  const names = indices.map((index) => String(index + 1));
  const z = indices.map((row) => indices.map((column) => distance(round, row, column)));
  const cells = { type: "heatmap", z, x: names, y: names, colorscale: SCALE, zmin: 0, xgap: 2, ygap: 2, hoverongaps: false };
  cells.hovertemplate = "particle %{y} to %{x}: %{z:.4g}<extra></extra>";
  cells.colorbar = { thickness: 10, outlinewidth: 0, exponentformat: "power" };
  if (indices.length <= FEW) Object.assign(cells, { texttemplate: "%{z:.3g}", showscale: false });
  const kind = { type: "category", showgrid: false, ticks: "" };
  return {
    data: [cells],
    layout: layout({ xaxis: axis("particle", kind), yaxis: axis("particle", { ...kind, autorange: "reversed" }), uirevision: round }),
  };
}

function termsChart(particle) {
  const moves = movesOf(particle);
  const shown = Object.keys(TERMS).filter((term) => moves.some((move) => move.terms[term] > 0));
  const data = shown.map((term) => {
    const [name, color, dash, symbol] = TERMS[term];
    const values = moves.map((move) => (move.terms[term] > 0 ? move.terms[term] : null));
    return line(particle, moves.map((move) => move.round), values, ".3g", { name, line: { color, dash, width: 2 }, marker: { color, symbol, size: 7 } });
  });
  const yaxis = logAxis(data);
  return { data, layout: layout({ xaxis: roundAxis(), yaxis, hovermode: "x unified", showlegend: true }) };
}

function timesChart() {
  const names = swarm.state.particles.map((particle) => label(particle.name));
  const sums = swarm.state.particles.map(({ index }) => ({
    train: published(index).reduce((sum, p) => sum + p.train_sec, 0),
    exchange: movesOf(index).reduce((sum, move) => sum + move.exchange_sec, 0),
    wait: movesOf(index).reduce((sum, move) => sum + move.wait_sec, 0),
  }));
  const data = Object.entries(TIMES).map(([kind, [name, color, ink]]) => ({
    type: "bar",
    orientation: "h",
    name,
    y: names,
    x: sums.map((sum) => sum[kind]),
    text: sums.map((sum) => timeText(sum, kind)),
    textposition: "inside",
    insidetextanchor: "middle",
    textangle: 0,
    insidetextfont: { color: ink },
    marker: { color },
    hovertemplate: `${name}: %{x:.1f} s (%{text})<extra></extra>`,
  }));
  return {
    data,
    layout: layout({
      barmode: "stack",
      uniformtext: { minsize: 10, mode: "hide" },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal" },
      xaxis: axis("seconds, all rounds"),
      yaxis: { automargin: true, autorange: "reversed", ticksuffix: " ", showgrid: false },
      bargap: 0.35,
    }),
  };
}

function timeText(sum, kind) {
  const all = sum.train + sum.exchange + sum.wait;
  return all > 0 ? `${((100 * sum[kind]) / all).toFixed(1)} %` : "";
}

const heights = { times: () => Math.max(200, 110 + 34 * swarm.state.particles.length) };

function draw(id, figure) {
  const place = document.getElementById(id);
  figure.layout.height = heights[id]?.() ?? Number(place.dataset.height);
  if (!place.dataset.drawn) {
    place.dataset.drawn = "yes";
    new ResizeObserver(() => place.offsetParent && Plotly.Plots.resize(place)).observe(place);
  }
  return Plotly.react(place, figure.data, figure.layout, { displaylogo: false, displayModeBar: false });
}
