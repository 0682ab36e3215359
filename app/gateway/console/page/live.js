// Live figures: traffic by colour, zone and model; gateways, engines, errors.

import { $, age, chart, clock, COLOURS, h, number, percent, put, seconds, table, usd } from "./dom.js";

const MOST_POINTS = 300;
let points = [];
let period = 1;
let engines = [];
let gateways = [];

const tile = (name) => {
  const value = h("dd", {}, "–");
  return { name, value, root: h("div", {}, h("dt", {}, name), value) };
};
const tiles = Object.fromEntries(
  [["rps", "Requests a second"], ["failed", "Failed"], ["ttft", "TTFT p95"], ["itl", "ITL p95"], ["flight", "In flight"],
   ["tokens", "Tokens a second"], ["cost", "Cost an hour"], ["engines", "Engines ready"]].map(([key, name]) => [key, tile(name)]),
);
const charts = [
  chart("Requests a second", (one) => one?.rps, (value) => number(value, 1)),
  chart("Failed a second", (one) => one?.failed, (value) => number(value, 1)),
  chart("TTFT p95", (one) => one?.ttft[1], seconds),
  chart("ITL p95", (one) => one?.itl[1], seconds),
];
const columns = (name) => [
  [name, (row) => row[0]],
  ["Requests/s", (row) => number(row[1].rps, 1), "number"],
  ["Failed/s", (row) => [number(row[1].failed, 2), row[1].failed > 0 ? "bad" : ""], "number"],
  ["Refused/s", (row) => number(row[1].refused, 2), "number"],
  ["In flight", (row) => number(row[1].in_flight), "number"],
  ["Waiting", (row) => number(row[1].waiting), "number"],
  ["TTFT p50", (row) => seconds(row[1].ttft[0]), "number"],
  ["p95", (row) => seconds(row[1].ttft[1]), "number"],
  ["ITL p50", (row) => seconds(row[1].itl[0]), "number"],
  ["p95", (row) => seconds(row[1].itl[1]), "number"],
  ["Tokens/s", (row) => number(row[1].tokens, 1), "number"],
];
const byColour = table("By colour", columns("Colour"));
const byZone = table("By zone of the gateway", columns("Zone"));
const byModel = table("By model", columns("Model"));

const gatewayTable = table("Gateways", [
  ["Pod", (row) => row.name],
  ["Colour", (row) => row.colour],
  ["Zone", (row) => row.zone || "–"],
  ["State", (row) => (row.draining ? ["draining", "wait"] : row.away.length ? [`without ${row.away.join(", ")}`, "bad"] : ["ready", "good"])],
  ["In flight", (row) => number(row.in_flight), "number"],
  ["Connections", (row) => number(row.connections), "number"],
  ["Up for", (row) => age(row.started_at), "number"],
  ["Version", (row) => row.version],
]);
const engineTable = table("Engines", [
  ["Pod", (row) => row.name],
  ["Model", (row) => row.model],
  ["Colour", (row) => row.colour],
  ["Zone", (row) => row.zone || "–"],
  ["State", (row) => [row.state, row.state === "ready" ? "good" : "wait"]],
  ["In flight", (row) => number(row.in_flight), "number"],
]);
const errorTable = table("Requests that failed on our side, the newest first", [
  ["Time", (row) => clock(row.time)],
  ["Status", (row) => row.status],
  ["Why", (row) => row.outcome],
  ["Model", (row) => row.model || "–"],
  ["Tenant", (row) => row.tenant || "–"],
  ["Key", (row) => row.key || "–"],
  ["Colour", (row) => row.colour],
  ["Engine", (row) => row.engine || "–"],
  ["Zone", (row) => row.zone || "–"],
  ["Request id", (row) => row.request_id],
], "None since the gateways started.");
const alone = h("p", { class: "note", hidden: true }, "Without Redis this gateway shows its own figures alone.");

$("view-live").append(
  alone, h("dl", { class: "tiles" }, ...Object.values(tiles).map((one) => one.root)),
  h("div", { class: "charts" }, ...charts.map((one) => one.root)), byColour.root, byZone.root, byModel.root,
);
$("view-fleet").append(gatewayTable.root, engineTable.root);
$("view-errors").append(errorTable.root);

export function hello(content) {
  period = content.period_seconds;
  const first = content.points.length ? content.points[0].t : Infinity;
  points = [...points.filter((point) => point.t < first), ...content.points].slice(-MOST_POINTS);
}

export function point(content) {
  points.push({ t: content.t, colours: content.colours });
  if (points.length > MOST_POINTS) points.splice(0, points.length - MOST_POINTS);
  alone.hidden = content.together;
  if (document.hidden) return;
  const all = Object.values(content.colours);
  const sum = (name) => all.reduce((total, one) => total + one[name], 0);
  const worst = (name) => all.reduce((most, one) => (one[name][1] === null ? most : Math.max(most ?? 0, one[name][1])), null);
  const rate = sum("rps");
  put(tiles.rps.value, number(rate, 1));
  put(tiles.failed.value, percent(rate ? (100 * sum("failed")) / rate : 0));
  tiles.failed.value.className = sum("failed") > 0 ? "bad" : "";
  put(tiles.ttft.value, seconds(worst("ttft")));
  put(tiles.itl.value, seconds(worst("itl")));
  put(tiles.flight.value, number(sum("in_flight")));
  put(tiles.tokens.value, number(sum("tokens")));
  put(tiles.cost.value, usd(sum("usd_hour")));
  if (!$("view-live").hidden) {
    charts.forEach((one) => one.draw(points, period));
    byColour.fill(COLOURS.filter((name) => content.colours[name]).map((name) => [name, content.colours[name]]));
    byZone.fill(Object.entries(content.zones));
    byModel.fill(Object.entries(content.models));
  }
  if (!$("view-fleet").hidden) gatewayTable.fill(gateways);
}

export function showGateways(content) {
  gateways = content;
  gatewayTable.fill(content);
}

export function showEngines(content) {
  engines = content;
  engineTable.fill(content);
  put(tiles.engines.value, `${engines.filter((one) => one.state === "ready").length} of ${engines.length}`);
}

export const showErrors = (content) => errorTable.fill(content);

export const kept = () => points.length;
