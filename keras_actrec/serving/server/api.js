// Talking to the server. Uploads wait in line here, too: a few at a time, and again when the server is full.
"use strict";

const AT_ONCE = 3;
const MOST_TRIES = 20;
const line = { running: 0, waiting: [] };

class Refusal extends Error {}

async function getJson(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Refusal(`The server answered ${response.status}.`);
  return response.json();
}

/** Post a file; resolves to the response, rejects with the server's sentence. */
async function post(path, file, parameters, told) {
  const query = new URLSearchParams(parameters);
  for (let tries = 1; ; tries += 1) {
    const release = await place(told);
    let response;
    try {
      told("sending and looking …");
      response = await fetch(`${path}?${query}`, {
        method: "POST",
        body: file,
        headers: { "X-Actrec": "page", "Content-Type": "application/octet-stream" },
      });
    } catch {
      throw new Refusal("The server cannot be reached.");
    } finally {
      release();
    }
    if (response.ok) return response;
    const seconds = Number(response.headers.get("Retry-After"));
    if (![429, 503].includes(response.status) || !seconds || tries >= MOST_TRIES) throw new Refusal(await reason(response));
    told(`the server is busy, again in ${seconds} s …`);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
  }
}

async function reason(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? sentence(detail) : detail.map((one) => one.msg).join("; ");
  } catch {
    return `The server answered ${response.status}.`;
  }
}

function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

async function place(told) {
  if (line.running >= AT_ONCE) {
    told("waiting …");
    await new Promise((go) => line.waiting.push(go));
  }
  line.running += 1;
  return () => {
    line.running -= 1;
    line.waiting.shift()?.();
  };
}
