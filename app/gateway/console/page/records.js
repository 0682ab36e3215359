// Spend, jobs and drills: asked for when they are looked at, and now and then while they are.

import { $, api, day, h, number, percent, put, seconds, table, usd } from "./dom.js";

const level = h("p", { role: "status" });
const signals = table("What counts", [
  ["Source", (row) => row.source],
  ["Spent", (row) => (row.percent === null ? "–" : h("meter", { min: 0, max: 100, high: 80, value: Math.min(100, row.percent), "aria-label": `${row.source}: ${percent(row.percent)}` }))],
  ["", (row) => percent(row.percent), "number"],
  ["Holds", (row) => (row.holds ? "yes" : "no")],
  ["At", (row) => day(row.at)],
  ["Detail", (row) => row.detail, "long"],
], "No word of AWS or the ledger yet.");
const tenants = table("This month by tenant", [
  ["Tenant", (row) => row.tenant],
  ["Requests", (row) => number(row.requests), "number"],
  ["Failed", (row) => number(row.failed), "number"],
  ["Input tokens", (row) => number(row.input_tokens), "number"],
  ["Output tokens", (row) => number(row.output_tokens), "number"],
  ["Cost", (row) => usd(row.cost_usd), "number"],
], "No usage this month.");
const models = table("This month by model", [
  ["Model", (row) => row.model],
  ["Requests", (row) => number(row.requests), "number"],
  ["Output tokens", (row) => number(row.output_tokens), "number"],
  ["Cost", (row) => usd(row.cost_usd), "number"],
], "No usage this month.");
const queue = table("Waiting and running", [
  ["Tenant", (row) => row.tenant],
  ["Queued", (row) => number(row.queued), "number"],
  ["Running", (row) => number(row.running), "number"],
], "Nothing waits.");
const recent = table("Batches and jobs", [
  ["Id", (row) => row.id],
  ["Kind", (row) => row.kind],
  ["Tenant", (row) => row.tenant],
  ["Status", (row) => row.status],
  ["Done", (row) => number(row.requests.done || 0), "number"],
  ["Failed", (row) => number(row.requests.failed || 0), "number"],
  ["Open", (row) => number((row.requests.queued || 0) + (row.requests.running || 0)), "number"],
  ["Began", (row) => day(row.created_at)],
  ["Ended", (row) => day(row.ended_at)],
]);
const drills = table("The latest run of each drill", [
  ["Drill", (row) => row.drill],
  ["Verdict", (row) => (row.passed ? ["held", "good"] : [`missed: ${row.missed.join(", ")}`, "bad"]), "long"],
  ["Requests", (row) => number(row.requests), "number"],
  ["Retried", (row) => number(row.retried), "number"],
  ["Failed", (row) => number(row.failed), "number"],
  ["Streams", (row) => number(row.streams), "number"],
  ["Cut", (row) => number(row.cut), "number"],
  ["Resumed", (row) => number(row.resumed), "number"],
  ["Worst stall", (row) => seconds(row.worst_stall), "number"],
  ["Full capacity after", (row) => seconds(row.full_capacity_seconds), "number"],
  ["Run", (row) => day(row.at)],
  ["Done", (row) => row.done, "long"],
], "No drill was run on this stack. `penstock drill list` names them.");
const notes = Object.fromEntries(["budget", "usage", "jobs"].map((name) => [name, h("p", { class: "note" })]));

$("view-spend").append(level, notes.budget, signals.root, notes.usage, tenants.root, models.root);
$("view-jobs").append(notes.jobs, queue.root, recent.root);
$("view-drills").append(drills.root);

// A part that is not configured is told as such, and the others are shown.
async function part(ask, show, note) {
  try {
    show(await ask);
    if (note) put(note, "");
  } catch (error) {
    if (error.status !== 404 || !note) throw error;
    put(note, error.message);
  }
}

export async function spend() {
  await part(api("GET", "budget"), (found) => {
    const over = found.override ? `, set by ${found.override.actor} until ${day(found.override.until)}: ${found.override.reason}` : "";
    put(level, `Level ${found.level} (${found.reason || "nothing spent that counts"})${over}`);
    level.className = found.level === "normal" ? "good" : found.level === "warn" ? "wait" : "bad";
    signals.fill(found.signals);
  }, notes.budget);
  await part(api("GET", "usage?by=tenant&limit=200"), (found) => tenants.fill(found.rows), notes.usage);
  await part(api("GET", "usage?by=model&limit=200"), (found) => models.fill(found.rows), notes.usage);
}

export const jobs = () => part(api("GET", "jobs"), (found) => {
  queue.fill(found.queue);
  recent.fill(found.recent);
}, notes.jobs);

export const drillsView = () => part(api("GET", "drills"), (found) => drills.fill(found.data));
