// One video: its player, its likeliest classes, its timeline, and what the network looks at.
"use strict";

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#b5609a", "#e69f00", "#56b4e9", "#332288", "#882255"];
const UNKNOWN = "unknown";
const NAME_LENGTH = 200; // what the server keeps of a file's name: its end, with the suffix

class Card {
  constructor(file, model, label) {
    this.file = file;
    this.model = model;
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.address = URL.createObjectURL(file);
    this.find(".file").textContent = label ? `${file.name} (shows ${label})` : file.name;
    this.find(".close").addEventListener("click", () => this.remove());
    this.find(".explain").addEventListener("click", () => this.explain());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  say(text, isProblem = false) {
    const state = this.find(".state");
    state.textContent = text;
    state.hidden = !text;
    state.classList.toggle("failed", isProblem);
    this.root.dataset.state = isProblem ? "failed" : text ? "working" : "done";
  }

  async ask() {
    this.say("waiting …");
    try {
      const parameters = { model: this.model.name, name: this.file.name.slice(-NAME_LENGTH) };
      const response = await post("/api/predict", this.file, parameters, (text) => this.say(text));
      this.show(await response.json());
      this.say("");
    } catch (error) {
      this.say(error.message, true);
      if (!(error instanceof Refusal)) throw error;
    }
  }

  show(answer) {
    this.answer = answer;
    this.find(".label").textContent = answer.label;
    this.find(".percent").textContent = percent(answer.confidence);
    this.find(".bars").replaceChildren(...answer.top.map((one) => bar(one, answer.label)));
    this.find(".facts").textContent = facts(answer);
    this.find(".why").hidden = !this.model.explains;
    this.play();
    if (answer.windows + answer.unreadable.length > 1) this.showTimeline();
    this.find(".result").hidden = false;
  }

  play() {
    const video = this.find(".clip");
    video.addEventListener("error", () => this.preview(), { once: true });
    video.src = this.address;
    video.play().catch(() => {}); // a browser that lets nothing start by itself has its controls
  }

  async preview() {
    const note = this.find(".note");
    note.textContent = "This browser cannot play the file; the server is asked for a small copy …";
    try {
      const response = await post("/api/preview", this.file, {}, () => {});
      const video = this.find(".clip");
      video.src = URL.createObjectURL(await response.blob());
      video.play().catch(() => {});
      note.textContent = "A small copy from the server, because this browser cannot play the file itself.";
    } catch (error) {
      note.textContent = `This browser cannot play the file, and there is no copy: ${error.message}`;
    }
  }

  showTimeline() {
    const { timeline, video } = this.answer;
    const colours = colouring(timeline);
    const strip = this.find(".timeline");
    strip.replaceChildren(...timeline.map((one) => this.segment(one, colours, video.duration_sec)));
    this.head = document.createElement("i");
    this.head.className = "head";
    strip.append(this.head);
    this.find(".to").textContent = clock(video.duration_sec);
    this.find(".segments").replaceChildren(...timeline.map((one) => this.row(one, colours)));
    this.find(".clip").addEventListener("timeupdate", () => this.follow());
    this.find(".long").hidden = false;
  }

  segment(one, colours, duration) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `${one.label}, ${clock(one.start_sec)} to ${clock(one.end_sec)}, ${percent(one.confidence)}`;
    button.setAttribute("aria-label", button.title);
    button.style.width = `${(100 * (one.end_sec - one.start_sec)) / duration}%`;
    button.style.background = colours.get(one.label);
    button.style.opacity = 0.45 + 0.55 * one.confidence;
    button.addEventListener("click", () => this.seek(one.start_sec));
    return button;
  }

  row(one, colours) {
    const row = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.className = "swatch";
    swatch.style.background = colours.get(one.label);
    row.append(swatch, cell("time", `${clock(one.start_sec)} – ${clock(one.end_sec)}`), cell("name", one.label));
    row.append(cell("percent", percent(one.confidence)));
    row.addEventListener("click", () => this.seek(one.start_sec));
    return row;
  }

  seek(seconds) {
    const video = this.find(".clip");
    if (video.readyState) video.currentTime = seconds;
    this.follow(seconds);
  }

  follow(seconds = this.find(".clip").currentTime) {
    const { timeline, video } = this.answer;
    this.head.style.left = `${Math.min(100, (100 * seconds) / video.duration_sec)}%`;
    const now = timeline.findIndex((one) => seconds < one.end_sec);
    this.find(".now").textContent = now < 0 ? "" : `${clock(seconds)}  ${timeline[now].label}`;
    [...this.find(".segments").children].forEach((row, index) => row.classList.toggle("current", index === now));
    this.now = timeline[now];
  }

  async explain() {
    const button = this.find(".explain");
    const note = this.find(".explained");
    const parameters = { model: this.model.name };
    if (this.now) Object.assign(parameters, { start_sec: this.now.start_sec, end_sec: this.now.end_sec });
    button.disabled = true;
    try {
      const response = await post("/api/explain", this.file, parameters, (text) => (note.textContent = text));
      const overlay = this.find(".overlay");
      overlay.src = URL.createObjectURL(await response.blob());
      overlay.hidden = false;
      overlay.play().catch(() => {});
      const label = decodeURIComponent(response.headers.get("X-Class"));
      note.textContent = `Where it is warm speaks for “${label}” (${response.headers.get("X-Method").replace("_", "-")}).`;
    } catch (error) {
      note.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  remove() {
    URL.revokeObjectURL(this.address);
    this.root.remove();
  }
}

function bar(one, chosen) {
  const row = document.createElement("li");
  const track = cell("track", "");
  const fill = document.createElement("i");
  fill.style.width = `${100 * one.probability}%`;
  track.append(fill);
  row.classList.toggle("chosen", one.label === chosen);
  row.append(cell("name", one.label), track, cell("percent", percent(one.probability)));
  return row;
}

function cell(kind, text) {
  const span = document.createElement("span");
  span.className = kind;
  span.textContent = text;
  return span;
}

function colouring(timeline) {
  const names = [...new Set(timeline.map((one) => one.label))].filter((name) => name !== UNKNOWN);
  const colours = new Map(names.map((name, index) => [name, COLOURS[index % COLOURS.length]]));
  return colours.set(UNKNOWN, "#8a94a6");
}

function facts({ video, windows, unreadable, seconds, model }) {
  const size = `${video.width} × ${video.height}, ${video.duration_sec.toFixed(1)} s, ${video.fps.toFixed(1)} frames per second`;
  const many = windows + unreadable.length > 1 ? `; means over ${windows} windows` : "";
  const lost = unreadable.length ? `, ${unreadable.length} could not be read` : "";
  return `${size}${many}${lost}. Answered by ${model} in ${seconds.answer.toFixed(2)} s.`;
}

function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}.${Math.floor(10 * (seconds - whole))}`;
}
