// Embeddings: the vocabulary's vectors on a plane and in space, which are near which, two of them side by side, and a word in two texts.

const POINTS = 20000; // drawn
const SHOWN = 64; // words in the tables
const HITS = 12; // of a search
const FIRST_TERMS = 5; // of a sum that is written out
const ROLE_WORDS = { source: "source embedding", target: "target embedding", output: "output matrix" };
const METRIC_WORDS = { cosine: "cosine", dot: "dot product", euclidean: "Euclidean distance" };
const NEEDS_MODEL = "This file holds the words of its text and their neighbours; for all others open the model with pellucid look.";

VIEWS.embeddings = {
  title: "Embeddings",
  sentence: "Every token is a row of numbers: where these rows lie, which are near each other, and what becomes of one in a text.",

  async show(trace, place) {
    const tables = trace.tables.filter((table) => view.live || table.name in trace.excerpts);
    if (tables.length) await showTable(trace, tables, place);
    else place.append(el("p", { class: "warning" }, "The vocabulary's vectors are not in this file: open the model with pellucid look."));
    place.append(await inContext(trace));
  },
};

async function showTable(trace, tables, place) {
  const names = tables.map((one) => one.name);
  const table = tables[Math.max(0, names.indexOf(state.all().table))];
  const space = await spaceOf(trace, table);
  const metric = state.all().metric in METRIC_WORDS ? state.all().metric : "cosine";
  const token = chosenOf(space, "token") ?? firstWord(table, space);
  const against = chosenOf(space, "against");
  const near = await nearestOf(trace, table, space, token, metric);
  place.append(
    el("div", { class: "steps" },
      choice("Matrix", table.name, tables.map((one) => [one.name, rolesOf(one)]), (name) => state.go({ table: name, token: null, against: null })),
      choice("Near by", metric, Object.entries(METRIC_WORDS), (name) => state.go({ metric: name }))),
    aboutTable(trace, table),
    el("div", { class: "beside" }, search("First word", "token", space, token), search("Second word", "against", space, against)),
    plotSection(table, space, token, against, near),
    nearSection(table, space, token, metric, near),
    await pairSection(trace, table, space, token, against, near));
}

// What is known of a table: of a file the rows that lie in it, of a model all

const spaces = new Map(); // by table: a page has one model

async function spaceOf(trace, table) {
  if (!spaces.has(table.name)) spaces.set(table.name, await (view.live ? wholeOf : excerptOf)(trace, table));
  return spaces.get(table.name);
}

async function wholeOf(trace, table) {
  const { names, explained } = await (await asked("/api/table", { table: table.name })).json();
  const rows = names.map((_, row) => row);
  return spaceFrom(trace, table, rows, names, explained);
}

async function excerptOf(trace, table) {
  const { known, names, explained } = trace.excerpts[table.name];
  return spaceFrom(trace, table, known, names, explained);
}

/** rows: those that have names and coordinates here; at: where each of them stands. */
async function spaceFrom(trace, table, rows, names, explained) {
  const plane = await trace.promised("plane", table.name, [rows.length, 3]);
  const at = new Map(rows.map((row, place) => [row, place]));
  return { rows, names, explained, plane, at, nameOf: (row) => names[at.get(row)] ?? `row ${row}` };
}

function chosenOf(space, key) {
  const row = Number.parseInt(state.all()[key], 10);
  return space.at.has(row) ? row : null;
}

/** What is shown before anything was chosen: the first token of the text that looks like a word. */
function firstWord(table, space) {
  return table.tokens.find((row) => /\p{L}{2}/u.test(space.nameOf(row)) && !/[<[]/.test(space.nameOf(row))) ?? table.tokens[0] ?? space.rows[0];
}

/** Whether vectors and neighbours of a row are at hand. */
function within(table, row) {
  return view.live || table.tokens.includes(row);
}

async function nearestOf(trace, table, space, token, metric) {
  if (!within(table, token)) return null;
  if (!view.live) return trace.excerpts[table.name].neighbours[metric][token];
  return (await (await asked("/api/neighbours", { table: table.name, token, metric })).json()).neighbours;
}

function vectorOf(trace, table, row) {
  return trace.promised("vector", `${table.name}:${row}`, [table.shape[1]]);
}

function rolesOf(table) {
  return table.roles.map((role) => ROLE_WORDS[role]).join(" = ");
}

function aboutTable(trace, table) {
  const [rows, width] = table.shape;
  const tied = table.roles.length > 1 ? ` One matrix serves as ${table.roles.map((role) => ROLE_WORDS[role]).join(" and ")}: they are tied.` : "";
  const others = trace.tables.filter((one) => one !== table);
  const apart = others.length ? ` It differs from: ${others.map(rolesOf).join("; ")}.` : "";
  return el("p", {}, `${rows} rows of ${width} numbers, one for each ${table.roles.includes("source") || table.roles.includes("target") ? "token" : "output"}.${tied}${apart}`,
    view.live ? null : ` ${NEEDS_MODEL}`);
}

// Search

/** A field that lists the words with what is typed in them. The list changes while the field stays. */
function search(label, key, space, chosen) {
  const list = el("ul", { class: "hits", "aria-label": `${label}: found` });
  const field = el("input", { type: "text", autocomplete: "off", dir: "auto", "data-key": `search ${key}`, value: chosen === null ? "" : space.nameOf(chosen) });
  const links = () => hitsOf(space, field.value).map((row) => el("li", {}, wordLink(space, row, key)));
  field.addEventListener("input", () => {
    const found = links();
    list.replaceChildren(...(found.length ? found : [el("li", {}, "no such word here")]));
    announce(`${found.length} found`);
  });
  const choose = (event) => {
    event.preventDefault();
    const [best] = hitsOf(space, field.value);
    if (best !== undefined) state.go({ [key]: best });
    else announce("no such word here");
  };
  return el("form", { class: "search", role: "search", "aria-label": label, onsubmit: choose }, el("label", { class: "field" }, el("span", {}, label), field),
    " ", el("button", { type: "submit", "data-key": `choose ${key}` }, "Choose"), list);
}

/** Rows by a part of their names, whole names first; a number finds its row. */
function hitsOf(space, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const ranked = [];
  space.names.forEach((name, place) => {
    const found = visible(name).toLowerCase();
    const bare = found.replace(/^[␣▁Ġ]|^##|<\/w>$/g, "");
    const rank = name === text ? 0 : bare === wanted || found === wanted ? 1 : bare.startsWith(wanted) ? 2 : found.includes(wanted) ? 3 : 4;
    if (rank < 4) ranked.push([rank, space.rows[place]]);
  });
  if (/^\d+$/.test(wanted) && space.at.has(Number(wanted))) ranked.push([2, Number(wanted)]);
  ranked.sort(([one, row], [other, second]) => one - other || row - second);
  return [...new Set(ranked.map(([, row]) => row))].slice(0, HITS);
}

function wordLink(space, row, key = "token") {
  return el("a", { href: state.link({ [key]: row }), dir: "auto", "data-key": `word ${key} ${row}` }, visible(space.nameOf(row)));
}

// The plane

/** The words that have their names in the plot, with why: chosen ones, neighbours, those of the text. */
function labelled(table, token, against, near) {
  const found = new Map([[token, "first word"]]);
  if (against !== null && !found.has(against)) found.set(against, "second word");
  (near ?? []).forEach(([row], at) => { if (!found.has(row)) found.set(row, `neighbour ${at + 1}`); });
  table.tokens.forEach((row) => { if (!found.has(row)) found.set(row, "in the text"); });
  return [...found].slice(0, SHOWN);
}

function plotSection(table, space, token, against, near) {
  const words = labelled(table, token, against, near);
  const look = { space: state.all().space === "yes", turn: state.number("turn", 361, 30), tilt: state.number("tilt", 181, 110) - 90 };
  const rows = space.rows.slice(0, POINTS);
  const shares = space.explained;
  const kept = look.space ? shares : shares.slice(0, 2);
  const picture = plot(space, rows, words, look);
  const turned = (changes) => {
    Object.assign(look, changes);
    state.keep({ turn: look.turn, tilt: look.tilt + 90 });
    picture.paint();
  };
  const sliders = look.space ? el("div", { class: "steps" },
    slider("Turn", look.turn, { min: 0, max: 360, step: 1, text: (value) => `${value}°` }, (turn) => turned({ turn })),
    slider("Tilt", look.tilt, { min: -90, max: 90, step: 1, text: (value) => minus(`${value}°`) }, (tilt) => turned({ tilt }))) : null;
  const byKey = { ArrowLeft: ["turn", -5], ArrowRight: ["turn", 5], ArrowDown: ["tilt", -5], ArrowUp: ["tilt", 5] };
  const frame = el("div", { class: "plot", tabindex: 0, role: "group", "data-key": "plot", "aria-label": look.space ? "Plot in space: the arrow keys turn it" : "Plot on a plane",
    onkeydown: (event) => {
      if (!look.space || !byKey[event.key]) return;
      event.preventDefault();
      const [key, step] = byKey[event.key];
      const value = key === "turn" ? (look.turn + step + 360) % 360 : Math.max(-90, Math.min(look.tilt + step, 90));
      const input = sliders.querySelector(`[data-key="slider ${key === "turn" ? "Turn" : "Tilt"}"]`);
      input.value = value;
      input.dispatchEvent(new Event("input"));
      announce(`${key} ${value} degrees`);
    } }, picture.canvas);
  const count = space.rows.length > POINTS ? `The first ${POINTS.toLocaleString("en")} of ${space.rows.length.toLocaleString("en")} rows are drawn, and the words that are named.`
    : view.live ? `All ${space.rows.length} rows are drawn.` : `The ${space.rows.length} rows that this file holds, of ${table.shape[0]}, are drawn.`;
  return el("section", {},
    el("h3", {}, look.space ? "The rows in space" : "The rows on a plane"),
    el("p", {}, "Directions 1, 2 and 3 are the principal components of all rows: those along which the rows differ most, the mean taken away. ",
      `${look.space ? "All three keep" : "The plane keeps"} ${percent(kept.reduce((some, one) => some + one, 0))} of the variance (${kept.map(percent).join(" + ")}): what lies apart here is apart, what lies together may not be near.`),
    el("div", { class: "steps" }, choice("Show", look.space ? "yes" : "no", [["no", "a plane: directions 1 and 2"], ["yes", "space: directions 1, 2 and 3"]], (value) => state.go({ space: value === "yes" ? value : null })), sliders),
    frame, picture.under,
    el("p", { class: "hint" }, `● first word ◆ second word ▲ neighbour ■ in the text; grey: the others. ${count} ${look.space ? "The sliders, or the arrow keys on the plot, turn it. " : ""}A click on a point chooses its word. Names that would cover others are left out; the table has all.`),
    coordinateTable(space, words));
}

function coordinateTable(space, words) {
  const line = ([row, why]) => el("tr", { "data-word": row }, el("th", { scope: "row" }, wordLink(space, row)), el("td", { class: "digits" }, String(row)), el("td", {}, why),
    Array.from(space.plane.row(space.at.get(row)), (value) => el("td", { class: "digits" }, shown(value))));
  const heads = ["word", "row", "why it is named", "direction 1", "direction 2", "direction 3"].map((text) => el("th", { scope: "col" }, text));
  return el("details", {}, el("summary", { "data-key": "coordinates" }, `The ${words.length} named words as a table`),
    scrolling(el("table", { class: "plain coordinates" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, words.map(line)))));
}

/** A canvas as wide as its place is, that says which word the pointer is nearest to. */
function plot(space, rows, words, look) {
  const canvas = el("canvas", { role: "img", "aria-label": `${rows.length} points; the table below has the words that are named` });
  const under = el("p", { class: "hint", "aria-hidden": "true" }, "Point at the plot: here stands the word.");
  const every = [...new Set([...rows, ...words.map(([row]) => row)])];
  const points = every.map((row) => Array.from(space.plane.row(space.at.get(row))));
  const ends = [0, 1, 2].map((axis) => spread(points.map((point) => point[axis])));
  const middle = ends.map(([low, high]) => (low + high) / 2);
  const ball = Math.max(...points.map((point) => distanceOf(point, middle))) || 1; // holds all points however it is turned
  let places = []; // of each point, in pixels
  let [width, height] = [0, 0];

  function paint() {
    if (!width) return;
    const share = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * share, height * share];
    const pen = canvas.getContext("2d");
    pen.scale(share, share);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    const [across, down] = [width / 2 - 16, height / 2 - 16];
    const unit = look.space ? Math.min(across, down) / ball : Math.min(across / (middle[0] - ends[0][0]), down / (middle[1] - ends[1][0]));
    const to = (point) => {
      const from = point.map((value, axis) => value - middle[axis]);
      const [x, y] = look.space ? turnedTo(from, look) : from;
      return [width / 2 + x * unit, height / 2 - y * unit];
    };
    directions(pen, ends.slice(0, look.space ? 3 : 2), to);
    places = points.map(to);
    const [size, ink] = every.length > 2000 ? [2.4, 0.35] : every.length > 400 ? [2.8, 0.6] : [4.5, 0.9]; // few points are easily overlooked
    pen.fillStyle = `rgb(90 100 115 / ${ink})`;
    for (const [x, y] of places) pen.fillRect(x - size / 2, y - size / 2, size, size);
    const named = words.map(([row, why]) => ({ name: visible(space.nameOf(row)), kind: why.split(" ")[0], at: to(Array.from(space.plane.row(space.at.get(row)))) }));
    const taken = named.map(({ at: [x, y] }) => [x - 5, y - 5, x + 5, y + 5]);
    [...named].reverse().forEach((one) => mark(pen, one));
    named.forEach((one) => label(pen, one, taken, [width, height]));
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [null, 12 ** 2];
    places.forEach(([left, top], at) => {
      const far = (left - x) ** 2 + (top - y) ** 2;
      if (far < least) [best, least] = [every[at], far];
    });
    return best;
  }

  canvas.addEventListener("pointermove", (event) => {
    const row = nearest(event);
    under.textContent = row === null ? "Point at the plot: here stands the word." : `${visible(space.nameOf(row))} (row ${row})`;
  });
  canvas.addEventListener("click", (event) => {
    const row = nearest(event);
    if (row !== null) state.go({ token: row });
  });
  new ResizeObserver(() => {
    if (!canvas.clientWidth || (width === canvas.clientWidth && height === canvas.clientHeight)) return;
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    paint();
  }).observe(canvas);
  return { canvas, under, paint };
}

/** A point of three directions as it is seen: turned about the upright one, then tilted. */
function turnedTo([first, second, third], { turn, tilt }) {
  const [about, over] = [(turn * Math.PI) / 180, (tilt * Math.PI) / 180];
  const deep = third * Math.cos(about) - first * Math.sin(about);
  return [first * Math.cos(about) + third * Math.sin(about), second * Math.cos(over) - deep * Math.sin(over)];
}

/** The directions, through the mean, as far as the points reach. */
function directions(pen, ends, to) {
  pen.strokeStyle = "#9a9a9a";
  pen.fillStyle = "#555";
  pen.font = "12px system-ui, sans-serif";
  pen.lineWidth = 1;
  ends.forEach((reach, axis) => {
    const [from, tip] = reach.map((value) => to([0, 0, 0].map((zero, other) => (other === axis ? value : zero))));
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...tip);
    pen.stroke();
    pen.fillText(String(axis + 1), tip[0] - (axis === 0 ? 10 : -5), tip[1] + (axis === 0 ? -5 : 10));
  });
}

const MARKS = {
  first: (pen, x, y) => pen.arc(x, y, 5, 0, 2 * Math.PI),
  second: (pen, x, y) => corners(pen, [[x, y - 6], [x + 6, y], [x, y + 6], [x - 6, y]]),
  neighbour: (pen, x, y) => corners(pen, [[x, y - 5], [x + 5, y + 4], [x - 5, y + 4]]),
  in: (pen, x, y) => pen.rect(x - 3, y - 3, 6, 6),
};
const MARK_INKS = { first: "#993404", second: "#6a3d9a", neighbour: "#08306b", in: "#1b1b1b" };

function corners(pen, points) {
  points.forEach((point, at) => (at ? pen.lineTo(...point) : pen.moveTo(...point)));
  pen.closePath();
}

function mark(pen, { kind, at }) {
  pen.fillStyle = MARK_INKS[kind];
  pen.beginPath();
  MARKS[kind](pen, ...at);
  pen.fill();
}

/** The name of a word beside its mark, above or below it: where nothing stands yet, else nowhere. */
function label(pen, { name, kind, at: [x, y] }, taken, [width, height]) {
  pen.font = `${kind === "first" ? "700 " : ""}13px system-ui, sans-serif`;
  const wide = pen.measureText(name).width;
  const corner = [[x + 8, y - 8], [x - 8 - wide, y - 8], [x - wide / 2, y - 23], [x - wide / 2, y + 7]].find(([left, top]) => {
    const apart = taken.every((other) => left > other[2] || left + wide < other[0] || top > other[3] || top + 16 < other[1]);
    return apart && left >= 0 && left + wide <= width && top >= 0 && top + 16 <= height;
  });
  if (!corner) return;
  const [left, top] = corner;
  taken.push([left, top, left + wide, top + 16]);
  pen.strokeStyle = "#fff";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeText(name, left, top + 12);
  pen.fillStyle = MARK_INKS[kind];
  pen.fillText(name, left, top + 12);
}

// Neighbours

function nearSection(table, space, token, metric, near) {
  const head = el("h3", {}, "Nearest to ", el("bdi", {}, visible(space.nameOf(token))));
  if (near === null) return el("section", {}, head, el("p", { class: "warning" }, `The neighbours of this word are not in this file. ${NEEDS_MODEL}`));
  const lines = near.map(([row, value], at) => el("tr", { "data-neighbour": row, "data-value": value }, el("td", { class: "digits" }, String(at + 1)), el("th", { scope: "row" }, wordLink(space, row)),
    el("td", { class: "digits" }, value === null ? "none" : shown(value)), el("td", {}, el("a", { href: state.link({ against: row }), "aria-label": `put ${visible(space.nameOf(row))} beside it`, "data-key": `beside ${row}` }, "side by side"))));
  const order = metric === "euclidean" ? "the smallest first" : "the largest first";
  return el("section", {}, head,
    el("p", {}, `By ${METRIC_WORDS[metric]}, ${order}, among all ${table.shape[0]} rows, each compared in 64 bits.`, metric === "dot" ? " A long vector has a large dot product with many." : null),
    scrolling(el("table", { class: "plain near" }, el("thead", {}, el("tr", {}, ["", "word", METRIC_WORDS[metric], ""].map((text) => el("th", { scope: "col" }, text || el("span", { class: "unseen" }, "number or link"))))), el("tbody", {}, lines))));
}

// Two words

async function pairSection(trace, table, space, token, against, near) {
  const second = against ?? near?.find(([row]) => within(table, row))?.[0] ?? table.tokens.find((row) => row !== token) ?? null;
  const head = el("h3", {}, "Two words");
  if (second === null) return el("section", {}, head, el("p", {}, "Choose a second word."));
  const away = [token, second].filter((row) => !within(table, row));
  if (away.length) return el("section", {}, head, el("p", { class: "warning" }, `The vector of ${away.map((row) => visible(space.nameOf(row))).join(", ")} is not in this file. ${NEEDS_MODEL}`));
  const names = [token, second].map((row) => visible(space.nameOf(row)));
  const [a, b] = (await Promise.all([token, second].map((row) => vectorOf(trace, table, row)))).map((one) => one.data);
  const both = new Numbers(Float32Array.from([...a, ...b]), [2, a.length]);
  const chosen = against === null ? "No second word is chosen: this is the first at hand. " : "";
  return el("section", { class: "pair" }, head,
    el("p", {}, `${chosen}a = `, el("bdi", {}, names[0]), ", b = ", el("bdi", {}, names[1]), "."),
    el("h4", {}, "The one-hot rows that they replace"),
    el("div", { class: "beside" }, [token, second].map((row, at) => oneHot("ab"[at], names[at], row, table.shape[0]))),
    el("p", { class: "hint" }, "A one-hot row times the matrix is one row of the matrix: so it is looked up. Any two one-hot rows stand at 90°; the rows of the matrix do not."),
    el("h4", {}, "Their vectors"),
    matrix(both, { rows: names, about: "the two vectors", axes: ["word", "dimension"], pick: () => {} }),
    measuresOf(a, b));
}

/** A row of V columns with its single 1. */
function oneHot(letter, name, row, rows) {
  const at = 2 + (236 * (row + 0.5)) / rows;
  const text = `${letter}: ${rows} columns, the 1 in column ${row}, 0 in the ${rows - 1} others`;
  return el("figure", { class: "matrix", "data-one-hot": row }, drawn("svg", { viewBox: "0 0 240 26", width: 240, height: 26, role: "img", "aria-label": `one-hot row of ${name}: ${text}` },
    drawn("rect", { x: 2, y: 14, width: 236, height: 9, fill: "#fff", stroke: "#6b6b6b" }), drawn("rect", { x: at - 1.5, y: 12, width: 3, height: 13, fill: "#08306b" }),
    drawn("text", { x: Math.min(Math.max(at, 8), 232), y: 10, "text-anchor": "middle", "font-size": 11 }, "1")), el("figcaption", {}, text));
}

/** Each quantity with its formula, the sum of it, and its value. */
function measuresOf(a, b) {
  const [dot, first, second] = [dotProduct(a, b), lengthOf(a), lengthOf(b)];
  const cosine = cosineOf(a, b);
  const squares = (x) => sumText(x.map((value) => [value, value]), (one) => `${bracket(one[0])}²`);
  const rows = [
    ["dot product", "dot", "a · b = a_1 b_1 + .. + a_n b_n", sumText(Array.from(a, (value, at) => [value, b[at]]), ([x, y]) => `${bracket(x)} · ${bracket(y)}`), dot],
    ["length of a", "first", "|a| = sqrt(a_1^2 + .. + a_n^2)", `√(${squares(Array.from(a))})`, first],
    ["length of b", "second", "|b| = sqrt(b_1^2 + .. + b_n^2)", `√(${squares(Array.from(b))})`, second],
    ["cosine", "cosine", "cos = a · b / (|a| |b|)", `${shown(dot)} / (${shown(first)} · ${shown(second)})`, cosine],
    ["angle in degrees", "degrees", "angle = arccos(cos) · 180 / π", `arccos(${shown(cosine)}) · 180 / π`, degreesOf(cosine)],
    ["Euclidean distance", "distance", "|a - b| = sqrt((a_1 - b_1)^2 + ..)", `√(${sumText(Array.from(a, (value, at) => [value, b[at]]), ([x, y]) => `(${shown(x)} − ${bracket(y)})²`)})`, distanceOf(a, b)],
  ];
  return el("dl", { class: "between" }, rows.map(([name, key, text, sum_, value]) => el("div", {}, el("dt", {}, name), el("dd", { "data-between": key, "data-value": value },
    el("div", { class: "formula" }, formula(text)), el("span", {}, `= ${sum_}`), el("br"), el("strong", {}, `= ${shown(value)}${key === "degrees" ? "°" : ""}`)))));
}

function sumText(terms, text) {
  const rest = terms.length - FIRST_TERMS;
  return terms.slice(0, FIRST_TERMS).map(text).join(" + ") + (rest > 0 ? ` + … and ${rest} more` : "");
}

function bracket(value) {
  return value < 0 ? `(${shown(value)})` : shown(value);
}

// A word in a text, or in two

const contexts = new Map(); // the second text to its trace

async function inContext(trace) {
  const sides = { encoder: "source", decoder: "target" };
  const stacks = Object.keys(sides).filter((stack) => trace.has(`${stack}.embed.tokens`) && trace.ids[sides[stack]]);
  const section = el("section", { class: "context" }, el("h3", {}, "A word in a text, and in another"),
    el("p", {}, "Its row of the matrix is the same wherever it stands. From there on every layer mixes in what stands around it: the vector becomes that of the word in this text."));
  if (!stacks.length) return filled(section, {}, [el("p", {}, "This model reads no words.")]);
  const stack = stacks.includes(state.all().stack) ? state.all().stack : stacks[0];
  const text = state.all().context ?? "";
  const other = view.live && text ? await second(text, section) : null;
  const places = placesOf(trace, other, sides[stack]);
  const chosen = places.find(({ key }) => key === state.all().word) ?? places[0];
  section.append(contextForm(text), el("div", { class: "steps" },
    stacks.length > 1 ? choice("Side", stack, stacks.map((one) => [one, `${one}: ${sides[one]}`]), (one) => state.go({ stack: one, word: null })) : null,
    places.length ? choice("Word", chosen.key, places.map(({ key, name }) => [key, name]), (key) => state.go({ word: key })) : null));
  if (!chosen) section.append(el("p", { class: "warning" }, "The two texts have no word in common."));
  else section.append(await layersOf(trace, other ?? trace, stack, chosen));
  return section;
}

async function second(text, section) {
  if (!contexts.has(text)) contexts.set(text, await served({ text }).catch((error) => error));
  const found = contexts.get(text);
  if (found instanceof Trace) return found;
  contexts.delete(text);
  section.append(el("p", { class: "warning", role: "alert" }, found.message));
  return null;
}

function contextForm(text) {
  const field = el("input", { type: "text", value: text, autocomplete: "off", dir: "auto", disabled: !view.live, "data-key": "context" });
  const send = (event) => {
    event.preventDefault();
    state.go({ context: field.value.trim() || null, word: null });
  };
  return el("form", { class: "search", onsubmit: send }, el("label", { class: "field" }, el("span", {}, "Second text"), field), " ", el("button", { type: "submit", disabled: !view.live, "data-key": "compare texts" }, "Compare"),
    view.live ? null : el("p", { class: "hint" }, "A second text needs the model: open it with pellucid look. A word that stands twice in this text can be compared with itself here."));
}

/** Where a word may be looked at: with another text at both places, else at one place, or at two of the same word. */
function placesOf(trace, other, side) {
  const ids = trace.ids[side].slice(0, SHOWN);
  const names = trace.names[side] ?? ids.map(String);
  const found = [];
  ids.forEach((id, one) => {
    if (!other) found.push({ key: `${one}`, one, two: null, name: `${visible(names[one])}, position ${one}` });
    const [others, first] = other ? [other.ids[side].slice(0, SHOWN), 0] : [ids, one + 1];
    for (let two = first; two < others.length; two++) {
      if (others[two] === id) found.push({ key: `${one}-${two}`, one, two, name: `${visible(names[one])}, positions ${one} and ${two}` });
    }
  });
  const wordly = ({ name }) => (/^[^<[]*\p{L}{2}/u.test(name.split(", position")[0]) ? 0 : 1);
  return found.sort((one, another) => wordly(one) - wordly(another)).slice(0, 4 * SHOWN);
}

/** Cosines layer by layer: against the static row, and of the two places against each other. */
async function layersOf(trace, other, stack, { one, two, name }) {
  const steps = [["embed.tokens", "the row of the matrix"], ["embed.out", "with its position"]];
  for (let layer = 0; layer < trace.layers(stack); layer++) steps.push([`layers.${layer}.out`, `after layer ${layer}`]);
  if (trace.has(`${stack}.norm.out`)) steps.push(["out", "after the last norm"]);
  const known = steps.filter(([step]) => trace.has(`${stack}.${step}`) && other.has(`${stack}.${step}`));
  const rows = await Promise.all(known.map(async ([step, words]) => {
    const tap = `${stack}.${step}`;
    return { tap, words, first: (await trace.array(tap)).row(one), second: two === null ? null : (await other.array(tap)).row(two) };
  }));
  const fixed = rows[0].first;
  const columns = [["first place with its own row of the matrix", rows.map(({ first }) => cosineOf(first, fixed))]];
  if (two !== null) {
    columns.push(["second place with that row", rows.map((row) => cosineOf(row.second, fixed))]);
    columns.push(["the two places with each other", rows.map((row) => cosineOf(row.first, row.second))]);
  }
  const line = (row, at) => el("tr", { "data-tap": row.tap }, el("th", { scope: "row" }, el("a", { href: state.link({ view: "walk", tap: row.tap, number: null }) }, row.words)),
    columns.map(([, values]) => el("td", { class: "digits", "data-value": values[at] }, shown(values[at]))));
  const heads = ["cosine", ...columns.map(([text]) => text)].map((text) => el("th", { scope: "col" }, text));
  const last = columns.at(-1)[1];
  const sentence = two === null ? `${name}: at last its cosine with its own row is ${shown(last.at(-1))}.`
    : `${name}: the same row of the matrix (cosine ${shown(last[0])}), and at last ${shown(last.at(-1))} between the two.`;
  return el("div", {}, el("p", {}, el("bdi", {}, sentence)),
    scrolling(el("table", { class: "plain wrap layers" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows.map(line)))),
    curves(columns.map(([text, values]) => ({ name: text, values })), rows.map((_, at) => at), { horizontal: "step: 0 the row, 1 with its position, then the layers", vertical: "cosine", about: "the cosines of the table, step by step" }));
}
