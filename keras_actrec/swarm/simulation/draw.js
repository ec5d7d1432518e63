"use strict";
// Draws on the two canvases; knows nothing of servers and sliders.

const COLOURS = document.body.dataset.colours.split(" ");
const TRAIL = 14;
const BANDS = 16;

// Make a canvas as sharp as the screen; return its context, in CSS pixels, and its size.
function sharp(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Return a picture of the heights: bands from dark blue (low) to white.
function relief(heights) {
  const side = heights.length;
  const picture = document.createElement("canvas");
  picture.width = picture.height = side;
  const context = picture.getContext("2d");
  const image = context.createImageData(side, side);
  heights.forEach((line, row) => line.forEach((height, column) => {
    const light = Math.floor(height * BANDS * 0.999) / (BANDS - 1);
    const at = 4 * ((side - 1 - row) * side + column);
    image.data.set([92 + 158 * light, 118 + 133 * light, 160 + 93 * light, 255], at);
  }));
  context.putImageData(image, 0, 0);
  return picture;
}

function between(from, to, share) {
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}

// Draw the landscape and the swarm.
// view: {relief, reach, minima, past, frame, share, whose}; share from 0 to 1 goes through the frame's round: training
// in the first half, the move in the second.
function drawMap(canvas, view) {
  const { context, width } = sharp(canvas);
  const place = ([x, y]) => [(x / view.reach + 1) * width / 2, (1 - y / view.reach) * width / 2];
  context.imageSmoothingEnabled = true;
  context.drawImage(view.relief, 0, 0, width, width);
  view.minima.forEach((point) => cross(context, place(point)));
  const frame = view.frame;
  if (!frame) return;
  const shown = frame.positions.map((_, index) => index).filter((index) => view.whose === null || index === view.whose);
  const training = Math.min(1, 2 * view.share), moving = Math.max(0, 2 * view.share - 1);
  const now = frame.positions.map((_, index) => moving > 0
    ? between(frame.after[index], frame.positions[index], moving)
    : between(frame.before[index], frame.after[index], training));
  shown.forEach((index) => trail(context, view.past, frame, index, now[index], place));
  if (frame.orders) shown.forEach((index) => links(context, frame, index, now, place, view.whose !== null));
  frame.bests.forEach((point, index) => ring(context, place(point), colour(index)));
  now.forEach((point, index) => dot(context, place(point), colour(index), view.whose === null || index === view.whose, width));
}

function colour(index) { return COLOURS[index % COLOURS.length]; }

function cross(context, [x, y]) {
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2.5;
  context.beginPath();
  context.moveTo(x - 6, y - 6); context.lineTo(x + 6, y + 6);
  context.moveTo(x + 6, y - 6); context.lineTo(x - 6, y + 6);
  context.stroke();
}

function trail(context, past, frame, index, now, place) {
  const points = past.slice(-TRAIL).map((old) => old.before[index]);
  points.push(frame.before[index], now);
  context.strokeStyle = colour(index);
  context.lineWidth = 1.5;
  for (let at = 1; at < points.length; at++) {
    context.globalAlpha = 0.1 + 0.6 * at / points.length;
    line(context, place(points[at - 1]), place(points[at]));
  }
  context.globalAlpha = 1;
}

function links(context, frame, index, now, place, alone) {
  const here = place(now[index]);
  context.strokeStyle = colour(index);
  context.lineWidth = 1;
  context.globalAlpha = alone ? 0.9 : 0.18;
  frame.orders[index].slice(1).forEach((other) => line(context, here, place(now[other])));
  context.lineWidth = alone ? 3 : 1.6;
  context.globalAlpha = alone ? 0.9 : 0.4;
  if (frame.pulls) line(context, here, place(frame.bests[frame.chosen[index]]));
  context.globalAlpha = 1;
}

function line(context, from, to) {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function ring(context, [x, y], stroke) {
  context.strokeStyle = stroke;
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
}

function dot(context, [x, y], fill, strong, width) {
  // Who has left the map is drawn at its edge.
  const held = (value) => Math.min(Math.max(value, 3), width - 3);
  context.globalAlpha = strong ? 1 : 0.35;
  context.fillStyle = fill;
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(held(x), held(y), 5, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  context.globalAlpha = 1;
}

// Draw lowest and mean loss by round, on a logarithmic axis with lines at powers of ten.
function drawCurve(canvas, frames) {
  const { context, width, height } = sharp(canvas);
  const left = 44, bottom = 18, top = 8;
  const series = [
    { values: frames.map((frame) => Math.min(...frame.losses)), stroke: "#1e3a8a", wide: 2.5, dash: [] },
    { values: frames.map((frame) => frame.losses.reduce((sum, loss) => sum + loss, 0) / frame.losses.length),
      stroke: "#d55e00", wide: 1.5, dash: [5, 4] },
  ];
  const logs = series.flatMap((one) => one.values).map((value) => Math.log10(Math.max(value, 1e-12)));
  const low = Math.floor(Math.min(0, ...logs)), high = Math.ceil(Math.max(1, ...logs));
  const last = Math.max(frames.length, 20);
  const place = (round, log) => [
    left + (width - left - 8) * round / last, top + (height - top - bottom) * (high - log) / (high - low)];
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "#5b6678";
  context.strokeStyle = "#e4e8ee";
  context.lineWidth = 1;
  context.textAlign = "right";
  const every = Math.ceil((high - low) / 4);
  for (let power = high; power >= low; power -= every) {
    line(context, place(0, power), place(last, power));
    context.fillText(power < -3 || power > 3 ? `1e${power}` : String(10 ** power), left - 6, place(0, power)[1] + 4);
  }
  context.fillText(`round ${frames.length}`, width - 8, height - 4);
  series.forEach((one) => {
    context.strokeStyle = one.stroke;
    context.lineWidth = one.wide;
    context.setLineDash(one.dash);
    context.beginPath();
    one.values.forEach((value, index) => context.lineTo(...place(index + 1, Math.log10(Math.max(value, 1e-12)))));
    context.stroke();
  });
  context.setLineDash([]);
}
