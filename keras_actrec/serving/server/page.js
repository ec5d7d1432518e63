// The page: models to choose, files to drop, examples to try.
"use strict";

const part = (name) => document.getElementById(name);
let models = [];

function chosenModel() {
  return models.find((model) => model.name === part("model").value) ?? models[0];
}

function add(file, label) {
  const card = new Card(file, chosenModel(), label);
  part("cards").prepend(card.root);
  return card.ask();
}

function addAll(files) {
  part("problem").hidden = true;
  [...files].forEach((file) => add(file));
}

function showModels() {
  part("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  const tell = () => {
    const { architecture, classes, timeline_from_sec: from } = chosenModel();
    part("model-facts").textContent =
      `${architecture}, ${classes.length} actions: ${classes.join(", ")}. Videos longer than ${from.toFixed(1)} s get a timeline.`;
  };
  part("model").addEventListener("change", tell);
  tell();
}

function showExamples(examples) {
  part("examples-part").hidden = !examples.length;
  part("examples").replaceChildren(...examples.map(exampleButton));
}

function exampleButton({ name, label, address }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const clip = document.createElement("video");
  Object.assign(clip, { src: address, muted: true, loop: true, preload: "metadata", playsInline: true });
  button.addEventListener("mouseenter", () => clip.play().catch(() => {}));
  button.addEventListener("mouseleave", () => clip.pause());
  button.addEventListener("click", () => tryExample(name, label, address));
  button.append(clip, cell("name", label ?? name));
  item.append(button);
  return item;
}

async function tryExample(name, label, address) {
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Refusal("This example is not there any more.");
    const blob = await response.blob();
    await add(new File([blob], name, { type: blob.type }), label);
    window.scrollTo({ top: part("cards").offsetTop - 12, behavior: "smooth" });
  } catch (error) {
    complain(error.message);
  }
}

function complain(text) {
  part("problem").textContent = text;
  part("problem").hidden = false;
}

function takeDrops() {
  const drop = part("drop");
  const over = (is) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", is);
  };
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, over(true));
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, over(false));
  document.addEventListener("drop", (event) => addAll(event.dataTransfer.files));
  part("files").addEventListener("change", (event) => {
    addAll(event.target.files);
    event.target.value = "";
  });
}

async function start() {
  try {
    models = await getJson("/api/models");
    showModels();
    takeDrops();
    showExamples(await getJson("/api/examples"));
  } catch (error) {
    complain(error.message);
  }
  document.body.dataset.ready = "yes";
}

start();
