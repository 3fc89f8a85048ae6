// Small tools: elements, numbers as text, colours. Text enters the page as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const MATHML = "http://www.w3.org/1998/Math/MathML";

/** An HTML element. Attributes that begin with "on" are listeners; null, undefined and false are left out. */
function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in SVG. */
function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** The same in MathML. */
function math(name, ...children) {
  return filled(document.createElementNS(MATHML, name), {}, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Put children in place of what an element holds. */
function fill(element, ...children) {
  element.replaceChildren();
  return filled(element, {}, children);
}

/** A number in at most nine characters, as the terminal shows it. */
function shown(value) {
  if (Number.isNaN(value)) return "NaN";
  if (value === Infinity) return "∞";
  if (value === -Infinity) return "−∞";
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-4 && size < 999.99995)) return minus(value.toFixed(4));
  return minus(size > 1 && size < 99999.5 ? value.toFixed(1) : value.toExponential(2));
}

/** All digits that a float32 has. */
function exact(value) {
  return Number.isFinite(value) ? minus(String(Number(value.toPrecision(9)))) : shown(value);
}

function minus(text) {
  return text.replace("-", "−");
}

function percent(share) {
  return `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
}

/** A token as it is read; what cannot be seen gets a name. */
function visible(name) {
  if (name === undefined || name === null) return "";
  return name === "" ? "(empty)" : name.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥");
}

/** A token as it is read, where one output may be for the whole: then nothing is named. */
function readAs(name) {
  return name === "" ? "(the whole)" : visible(name);
}

/** Red, green and blue of a number between ends: white at zero, blue above it, orange below. What is no number is grey. */
function colour(value, most) {
  if (!Number.isFinite(value)) return [225, 225, 225];
  const share = most > 0 ? Math.min(Math.abs(value) / most, 1) : 0;
  const dark = value >= 0 ? [8, 48, 107] : [153, 52, 4];
  return dark.map((end) => Math.round(255 + share * (end - 255)));
}

/** Black or white, whichever is the easier to read on a colour. */
function inkOn([red, green, blue]) {
  const [r, g, b] = [red, green, blue].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** The largest finite size of many numbers. */
function largest(numbers) {
  let most = 0;
  for (const value of numbers) if (Number.isFinite(value) && Math.abs(value) > most) most = Math.abs(value);
  return most;
}

/** A field with its label. `options`: [value, text] pairs. */
function choice(label, value, options, change) {
  const chosen = el("select", { "data-key": `choice ${label}`, onchange: (event) => change(event.target.value) },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)));
  return el("label", { class: "field" }, el("span", {}, label), chosen);
}

/** A slider with its label and its number. The change counts while it is dragged, or, of a `late` one, when it is let go. */
function slider(label, value, { min, max, step, text = String, late = false }, change) {
  const output = el("output", {}, text(value));
  const input = el("input", {
    type: "range", min, max, step, value, "data-key": `slider ${label}`, "aria-valuetext": text(value),
    oninput: (event) => {
      const now = Number(event.target.value);
      output.textContent = text(now);
      event.target.setAttribute("aria-valuetext", text(now));
      if (!late) change(now);
    },
    onchange: (event) => { if (late) change(Number(event.target.value)); },
  });
  return el("label", { class: "field" }, el("span", {}, label), input, output);
}

/** A bar beside a number: as long as the number is large, at most as long as `most`. */
function barOf(value, most = 1) {
  const share = Number.isFinite(value) && most > 0 ? Math.max(0, Math.min(value / most, 1)) : 0;
  return el("span", { class: "span-of", "aria-hidden": "true", style: `width:${(100 * share).toFixed(2)}%` });
}

/** A box whose contents may be larger than it; the keyboard can reach and scroll it. */
function scrolling(...children) {
  return el("div", { class: "scroll", tabindex: 0 }, children);
}

function button(text, press, attributes = {}) {
  return el("button", { type: "button", "data-key": `button ${text}`, onclick: press, ...attributes }, text);
}

/** Rows of a name, a bar as long as its share, and the share: [name, share] pairs. A name is text or an element. */
function bars(caption, rows, attributes = {}) {
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption, ...attributes }, el("table", { class: "plain shares" }, el("caption", {}, caption),
    rows.map(([name, share]) => el("tr", {}, el("th", { scope: "row", dir: "auto" }, name),
      el("td", { class: "bar", "aria-hidden": "true" }, el("span", { style: `width:${(100 * Math.min(Math.max(share, 0), 1)).toFixed(2)}%` })),
      el("td", { class: "digits", "data-value": share }, shown(share))))));
}

/** A table of texts and elements. A column whose head ends in "#" holds numbers, which are numbers in `rows`. */
function table(caption, heads, rows, attributes = {}) {
  const digits = heads.map((head) => head.endsWith("#"));
  const cell = (value, at) => (at === 0 ? el("th", { scope: "row", dir: "auto" }, value)
    : digits[at] ? el("td", { class: "digits", "data-value": value }, typeof value === "number" ? shown(value) : value) : el("td", { dir: "auto" }, value));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption, ...attributes }, el("table", { class: "plain" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head, at) => (head ? el("th", { scope: "col", class: digits[at] ? "right" : null }, head.replace("#", "")) : el("td"))))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))));
}

/** Say something to those who listen. */
function announce(text) {
  document.getElementById("live").textContent = text;
}
