// Elements, tables, charts and requests. Text goes in as text nodes alone: there is no markup from data anywhere.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function put(element, text) {
  text = text === null || text === undefined ? "" : String(text);
  if (element.textContent !== text) element.textContent = text;
}

// -- words --

export const number = (value, digits = 0) =>
  value === null || value === undefined || Number.isNaN(value)
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 1 ? `${number(value * 1000)} ms` : `${number(value, value < 10 ? 2 : 1)} s`;
export const usd = (value) => (value === null || value === undefined ? "–" : `$${number(value, value < 100 ? 2 : 0)}`);
export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${number(value, digits)} %`);
export const clock = (unix) => (unix ? new Date(unix * 1000).toLocaleTimeString("en-GB") : "–");
export const day = (value) =>
  value ? new Date(typeof value === "number" ? value * 1000 : value).toISOString().slice(0, 16).replace("T", " ") : "–";

export function age(value) {
  const span = Math.max(0, Date.now() / 1000 - value);
  if (span < 90) return `${number(span)} s`;
  if (span < 5400) return `${number(span / 60)} min`;
  return span < 172800 ? `${number(span / 3600)} h` : `${number(span / 86400)} d`;
}

// -- tables --

// Columns: [heading, (row) => text or element, class of the cell]. `fill` reuses rows and cells, so that nothing flickers
// and a cell that has the focus keeps it.
export function table(caption, columns, empty = "None.") {
  const body = h("tbody");
  const head = h("thead", {}, h("tr", {}, ...columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name))));
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {}, head, body));
  const none = h("p", { class: "note" }, empty);
  const root = h("div", {}, h("h3", {}, caption), scroll, none);
  const fill = (rows) => {
    scroll.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((row, index) => {
      const line = body.rows[index] || body.insertRow();
      columns.forEach(([, cell, kind], place) => {
        const box = line.cells[place] || line.insertCell();
        let content = cell(row);
        let style = kind || "";
        if (Array.isArray(content)) [content, style] = [content[0], `${style} ${content[1]}`.trim()];
        if (box.className !== style) box.className = style;
        if (content instanceof Node) box.replaceChildren(content);
        else {
          put(box, content);
          if (box.textContent.length > 40 && box.title !== box.textContent) box.title = box.textContent;
        }
      });
    });
  };
  fill([]);
  return { root, fill };
}

// -- charts: one line for each colour over the last minutes --

export const COLOURS = ["blue", "green"];
const WIDTH = 300;
const HEIGHT = 100;

export function chart(title, pick, show) {
  const lines = Object.fromEntries(COLOURS.map((name) => [name, svg("polyline", { class: name })]));
  const words = Object.fromEntries(COLOURS.map((name) => [name, h("span", { class: `key-${name}` })]));
  const top = h("span");
  const grid = [0, 0.5, 1].map((at) => svg("line", { x1: 0, x2: WIDTH, y1: 1 + at * (HEIGHT - 2), y2: 1 + at * (HEIGHT - 2) }));
  const picture = svg(
    "svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    ...grid, ...COLOURS.map((name) => lines[name]),
  );
  const root = h("figure", {}, h("figcaption", {}, h("strong", {}, title), words.blue, words.green, top), picture);
  const draw = (points, period) => {
    const now = points.length ? points[points.length - 1].t : 0;
    const values = points.flatMap((point) => COLOURS.map((name) => pick(point.colours[name]) ?? 0));
    const most = Math.max(1e-9, ...values);
    const told = [];
    for (const name of COLOURS) {
      const marks = [];
      let last = null;
      for (const point of points) {
        const value = pick(point.colours[name]);
        last = value ?? null;
        if (value === null || value === undefined) continue;
        const x = WIDTH - ((now - point.t) / period / 300) * WIDTH;
        marks.push(`${x.toFixed(1)},${(1 + (1 - value / most) * (HEIGHT - 2)).toFixed(1)}`);
      }
      lines[name].setAttribute("points", marks.join(" "));
      put(words[name], `${name} ${show(last)}`);
      told.push(`${name} ${show(last)}`);
    }
    put(top, `top ${show(most > 1e-9 ? most : 0)}`);
    picture.setAttribute("aria-label", `${title}: ${told.join(", ")}`);
  };
  return { root, draw };
}

// -- requests --

export class Failure extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function ask(method, path, body, headers = {}) {
  const reply = await fetch(`/console/${path}`, {
    method,
    headers: { "x-penstock-console": "1", ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  }).catch(() => {
    throw new Failure(0, "The gateway does not answer.", "away");
  });
  const content = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const error = content.error || {};
    if (reply.status === 401) document.dispatchEvent(new Event("signed-out"));
    throw new Failure(reply.status, error.message || `The gateway answered ${reply.status}.`, error.code);
  }
  return content;
}

export const api = (method, path, body, headers) => ask(method, `api/${path}`, body, headers);

export function problem(error) {
  $("problem").hidden = !error;
  put($("problem"), error ? error.message : "");
}

// -- the one dialog: asks, or shows a text to copy --

export function confirm({ title, text, yes, danger = false, shown = "" }) {
  const dialog = $("ask");
  put($("ask-title"), title);
  put($("ask-text"), text);
  put($("ask-yes"), yes);
  $("ask-yes").className = danger ? "danger" : "main";
  $("ask-shown").hidden = !shown;
  $("ask-shown").value = shown;
  $("ask-no").hidden = Boolean(shown);
  return new Promise((resolve) => {
    const end = (answer) => {
      $("ask-yes").onclick = $("ask-no").onclick = dialog.onclose = null;
      $("ask-shown").value = "";
      if (dialog.open) dialog.close();
      resolve(answer);
    };
    $("ask-yes").onclick = () => end(true);
    $("ask-no").onclick = () => end(false);
    dialog.onclose = () => end(false);
    dialog.showModal();
    if (shown) $("ask-shown").select();
    else $("ask-no").focus();
  });
}
