// The release as its runner tells it, and two wishes: promote now, roll back.

import { $, api, clock, confirm, h, number, percent, problem, put, seconds, svg, table } from "./dom.js";

let now = null;

const state = h("p", { role: "status", "aria-live": "polite", id: "release-state" });
const doing = h("p", { class: "note" });
const bars = { blue: svg("rect", { class: "w-blue", height: 10 }), green: svg("rect", { class: "w-green", height: 10 }) };
const picture = svg("svg", { class: "weights", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", hidden: true }, bars.blue, bars.green);
const share = h("p", { id: "release-weights", hidden: true });
const steps = h("ol", { class: "steps", "aria-label": "Steps" });
const promote = h("button", { type: "button", class: "main", onclick: () => wish("promote") }, "Promote now");
const rollback = h("button", { type: "button", class: "danger", onclick: () => wish("rollback") }, "Roll back");
const absent = h("p", { class: "note" });
const command = h("code");
const findings = table("Gate", [
  ["Rule", (row) => row.rule],
  ["State", (row) => [row.state, { good: "good", waiting: "wait", bad: "bad" }[row.state]]],
  ["New colour", (row) => `${number(row.new.bad)} of ${number(row.new.total)} (${percent(row.new.total ? (100 * row.new.bad) / row.new.total : 0, 2)})`],
  ["Live colour", (row) => `${number(row.live.bad)} of ${number(row.live.total)} (${percent(row.live.total ? (100 * row.live.bad) / row.live.total : 0, 2)})`],
  ["Margin", (row) => percent(100 * row.margin, 2), "number"],
  ["Slow is over", (row) => (row.over_seconds === null ? "–" : seconds(row.over_seconds)), "number"],
], "No step is under watch.");
const wishes = table("Wishes", [
  ["Asked", (row) => clock(row.asked_at)],
  ["Wish", (row) => ({ promote: "Promote", rollback: "Roll back" })[row.kind]],
  ["By", (row) => row.actor],
  ["Release", (row) => row.release],
  ["At", (row) => row.at],
  ["State", (row) => row.state],
  ["Outcome", (row) => row.outcome || "–", "long"],
]);

$("view-release").append(
  state, doing, picture, share, steps, h("div", { class: "buttons" }, promote, rollback), absent, findings.root, wishes.root,
);

async function wish(kind) {
  const told = now?.told;
  if (!told) return;
  const other = told.colour === "blue" ? "green" : "blue";
  const sure = await confirm(
    kind === "rollback"
      ? { title: "Roll back?", text: `All traffic goes to ${other}, at once. The stack file and the state follow.`, yes: "Roll back", danger: true }
      : { title: "Promote now?", text: `${told.colour} passes this step (${told.at}) without waiting for the rest of its soak and samples. A rule that is broken still takes it back.`, yes: "Promote now" },
  );
  if (!sure) return;
  try {
    problem(null);
    await api("POST", "release/wishes", { kind, release: told.release, at: told.at });
  } catch (error) {
    problem(error);
  }
}

const title = (told) => {
  if (!told?.release) return "There was no release yet.";
  const end = told.outcome === "open" ? "is under way" : told.outcome === "held" ? "is held" : `was ${told.outcome}`;
  return `The release of ${told.colour} ${end}${told.reason ? `: ${told.reason}` : "."}`;
};

export function show(content) {
  now = content;
  const told = content.told;
  const open = new Set(content.wishes.filter((one) => one.state === "open" || one.state === "taken").map((one) => one.kind));
  put(state, title(told));
  const watching = content.attended ? told?.watching : null;
  put(doing, !content.attended ? (told ? `Last heard of at ${clock(content.told_at)}.` : "")
    : watching ? `${told.doing}: ${number(watching.seconds)} s of at least ${number(watching.soak_seconds)} s, ${watching.state}.`
    : told.doing || "The runner waits.");
  const weights = told?.weights;
  picture.toggleAttribute("hidden", !weights);
  share.hidden = !weights;
  if (weights) {
    bars.blue.setAttribute("width", weights.blue);
    bars.green.setAttribute("x", weights.blue);
    bars.green.setAttribute("width", weights.green);
    put(share, `blue ${weights.blue} %, green ${weights.green} %`);
    picture.setAttribute("aria-label", `Traffic: ${share.textContent}`);
  }
  const marks = (told?.steps || []).map((step, index) => {
    const passed = index < told.passed;
    const current = told.outcome === "open" && index === told.passed && told.direction === "forward";
    return h("li", { "aria-current": current ? "step" : null }, `${step} %${passed ? " passed" : ""}`);
  });
  if (steps.textContent !== marks.map((one) => one.textContent).join("") || steps.querySelectorAll("[aria-current]").length !== marks.filter((one) => one.hasAttribute("aria-current")).length) steps.replaceChildren(...marks);
  for (const [kind, button, name] of [["promote", promote, "Promote now"], ["rollback", rollback, "Roll back"]]) {
    button.disabled = !content.attended || open.has(kind) || !told.offers.includes(kind);
    put(button, open.has(kind) ? `${name}: asked` : name);
  }
  if (content.attended) absent.replaceChildren();
  else if (!absent.hasChildNodes()) {
    put(command, content.command);
    absent.append("No runner attends, so nothing can be done from here. On the operator's machine: ", command);
  }
  findings.fill(watching?.findings || []);
  wishes.fill(content.wishes);
}
