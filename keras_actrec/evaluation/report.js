"use strict";

function draw(place) {
  const figure = JSON.parse(place.querySelector("script").textContent);
  Plotly.newPlot(place, figure.data, figure.layout, { displaylogo: false, displayModeBar: false });
  new ResizeObserver(() => Plotly.Plots.resize(place)).observe(place);
}

function orderOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.order === undefined ? cell.textContent : cell.dataset.order;
  return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
}

// Rows without a value stay at the end, whichever way the others are sorted.
function compare(first, second, sign) {
  if (first === null || second === null) return (first === null) - (second === null);
  const numbers = typeof first === "number" && typeof second === "number";
  return sign * (numbers ? first - second : String(first).localeCompare(String(second)));
}

function sortBy(table, heading) {
  const headings = [...heading.parentElement.cells];
  const column = headings.indexOf(heading);
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [orderOf(row, column), row]);
  rows.sort((a, b) => compare(a[0], b[0], rising ? 1 : -1));
  rows.forEach(([, row]) => body.append(row));
}

document.querySelectorAll(".plot").forEach(draw);
document.querySelectorAll("table.sortable").forEach((table) => {
  table.tHead.addEventListener("click", (event) => {
    const heading = event.target.closest("th");
    if (heading) sortBy(table, heading);
  });
});
document.body.dataset.ready = "yes";
