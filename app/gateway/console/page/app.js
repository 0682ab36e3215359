// Sign-in, the views, and the one stream.

import { $, ask, problem, put } from "./dom.js";
import * as keys from "./keys.js";
import * as live from "./live.js";
import * as records from "./records.js";
import * as release from "./release.js";

const VIEWS = ["live", "release", "fleet", "spend", "keys", "jobs", "drills", "errors"];
const LOADED = { spend: records.spend, keys: keys.show, jobs: records.jobs, drills: records.drillsView };
const AGAIN = new Set(["spend", "jobs", "drills"]);
const AGAIN_MS = 15000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15000;

let stream = null;
let pause = FIRST_PAUSE_MS;
let waiting = 0;
let signedIn = false;
let actor = "";

const say = (text) => put($("connection"), text);
const view = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live");

async function load() {
  const wanted = LOADED[view()];
  if (!wanted || !signedIn) return;
  try {
    await wanted();
    problem(null);
  } catch (error) {
    if (error.status !== 401) problem(error);
  }
}

function show(focus) {
  const chosen = view();
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = !signedIn || name !== chosen;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = signedIn ? `${$(`title-${chosen}`).textContent} – Penstock` : "Penstock console";
  if (!signedIn) return;
  problem(null);
  if (focus) $(`title-${chosen}`).focus();
  load();
}

// -- the stream --

function connect() {
  clearTimeout(waiting);
  stream?.close();
  if (!signedIn) return;
  stream = new EventSource("/console/stream");
  const on = (name, take) => stream.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("hello", (content) => {
    pause = FIRST_PAUSE_MS;
    say(`Live, signed in as ${actor}`);
    live.hello(content);
  });
  on("point", live.point);
  on("gateways", live.showGateways);
  on("engines", live.showEngines);
  on("errors", live.showErrors);
  on("release", release.show);
  on("bye", ({ reason }) => (reason === "signed_out" ? leave("You were signed out.") : again()));
  stream.onerror = again;
}

// The gateway went, drains, or is full: another one answers.
async function again() {
  stream?.close();
  stream = null;
  if (!signedIn) return;
  clearTimeout(waiting);
  say("Connecting again ...");
  waiting = setTimeout(async () => {
    try {
      await ask("GET", "session");
    } catch (error) {
      if (error.status === 401) return;
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      again();
      return;
    }
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    connect();
  }, pause * (0.5 + Math.random()));
}

// -- sign-in --

function enter(session) {
  signedIn = true;
  actor = session.actor;
  $("sign-in").hidden = true;
  $("sign-out").hidden = false;
  document.querySelector("nav").hidden = false;
  say("Connecting ...");
  show(true);
  connect();
}

function leave(words) {
  signedIn = false;
  stream?.close();
  stream = null;
  clearTimeout(waiting);
  document.querySelector("nav").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  say(words);
  problem(null);
  if ($("ask").open) $("ask").close();
  show(false);
  $("admin-key").focus();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  put($("sign-in-error"), "");
  try {
    const session = await ask("POST", "session", { key: $("admin-key").value });
    $("admin-key").value = "";
    enter(session);
  } catch (error) {
    put($("sign-in-error"), error.message);
    $("admin-key").select();
  }
});
$("sign-out").addEventListener("click", async () => {
  await ask("DELETE", "session").catch(() => {});
  leave("Signed out.");
});
document.addEventListener("signed-out", () => signedIn && leave("Your sign-in has ended."));
addEventListener("hashchange", () => show(true));
setInterval(() => !document.hidden && AGAIN.has(view()) && load(), AGAIN_MS);

ask("GET", "session").then(enter, (error) => {
  leave(error.status === 401 ? "Not signed in" : error.message);
});
