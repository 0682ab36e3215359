// Tenants and keys: see them, make a key, revoke it, switch a tenant off and on.

import { $, api, confirm, day, h, number, problem, put, table } from "./dom.js";

const PAGE = 200;
const field = (id, label, attributes = {}) =>
  h("div", {}, h("label", { for: id }, label), h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", ...attributes }));
const made = h("p", { role: "status" });
const form = h(
  "form", { id: "new-key", "aria-label": "New key", onsubmit: create },
  h("h3", {}, "New key"),
  h("div", { class: "fields" },
    field("key-name", "Name", { required: true, maxlength: 100 }),
    field("key-tenant", "Tenant", { required: true, maxlength: 63, pattern: "[a-z0-9]([a-z0-9._\\-]*[a-z0-9])?", title: "lower-case letters, digits, . _ -" }),
    field("key-models", "Models, with commas; empty: all"),
    field("key-days", "Days; empty: for ever", { inputmode: "numeric", pattern: "[0-9]{1,4}" }),
  ),
  h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Make a key")),
  made,
);
const limits = (found) => Object.entries(found || {}).filter(([, value]) => value !== null).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`).join(", ") || "–";
const status = (row) => (row.revoked_at ? ["revoked", "bad"] : !row.enabled ? ["disabled", "wait"] : row.expires_at && new Date(row.expires_at) < new Date() ? ["expired", "wait"] : ["works", "good"]);
const keys = table("Keys", [
  ["Name", (row) => row.name],
  ["Id", (row) => row.id],
  ["Tenant", (row) => row.tenant],
  ["State", status],
  ["Models", (row) => (row.models ? row.models.join(", ") : "all"), "long"],
  ["Priority", (row) => row.priority],
  ["Limits", (row) => limits(row.limits), "long"],
  ["Expires", (row) => day(row.expires_at)],
  ["Last used", (row) => row.last_used_day || "–"],
  ["", (row) => (row.revoked_at ? "" : h("button", { type: "button", class: "danger small", "aria-label": `Revoke ${row.name}`, onclick: () => revoke(row) }, "Revoke"))],
], "No key in the database.");
const tenants = table("Tenants", [
  ["Name", (row) => row.name],
  ["State", (row) => (row.enabled ? ["enabled", "good"] : ["disabled", "wait"])],
  ["Keys", (row) => number(row.keys), "number"],
  ["Limits", (row) => limits(row.limits), "long"],
  ["", (row) => h("button", { type: "button", class: "small", "aria-label": `${row.enabled ? "Disable" : "Enable"} ${row.name}`, onclick: () => toggle(row) }, row.enabled ? "Disable" : "Enable")],
], "No tenant has limits of its own.");
const more = h("p", { class: "note" });

$("view-keys").append(form, keys.root, more, tenants.root);

export async function show() {
  const [found, named] = [await api("GET", `keys?limit=${PAGE}`), await api("GET", `tenants?limit=${PAGE}`)];
  const rank = (row) => (row.revoked_at ? 1 : 0);
  keys.fill(found.data.sort((one, other) => rank(one) - rank(other) || other.created_at.localeCompare(one.created_at)));
  put(more, found.next ? `The first ${PAGE} by their ids; \`penstock key list\` has all.` : "");
  tenants.fill(named.data);
}

async function act(work) {
  try {
    problem(null);
    await work();
    await show();
  } catch (error) {
    problem(error);
  }
}

async function create(event) {
  event.preventDefault();
  await act(async () => {
    const models = $("key-models").value.split(",").map((one) => one.trim()).filter(Boolean);
    const days = $("key-days").value.trim();
    const found = await api("POST", "keys", {
      name: $("key-name").value.trim(),
      tenant: $("key-tenant").value.trim(),
      ...(models.length ? { models } : {}),
      ...(days ? { expires_at: new Date(Date.now() + Number(days) * 86400000).toISOString() } : {}),
    }, { "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });
    form.reset();
    put(made, `Made ${found.id}.${(found.warnings || []).map((one) => ` Note: ${one}.`).join("")}`);
    await confirm({ title: `The key of ${found.name}`, text: "It is shown now and never again. Copy it to where it is used.", yes: "Done", shown: found.key });
  });
}

async function revoke(row) {
  if (await confirm({ title: "Revoke this key?", text: `${row.name} (${row.id}, tenant ${row.tenant}) is refused from now on, for good.`, yes: "Revoke", danger: true }))
    await act(() => api("POST", `keys/${encodeURIComponent(row.id)}/revoke`, {}));
}

async function toggle(row) {
  if (!row.enabled || await confirm({ title: `Disable ${row.name}?`, text: "All its keys and tokens are refused until it is enabled again.", yes: "Disable", danger: true }))
    await act(() => api("PATCH", `tenants/${encodeURIComponent(row.name)}`, { enabled: !row.enabled }));
}
