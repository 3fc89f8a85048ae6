// Layers: what each would say if it were the last (the logit lens), and how large the parts are that each adds to the residual.

const PARTS = { self_attn: "self-attention", cross_attn: "cross-attention", ffn: "feed-forward" };
const told = new WeakMap(); // of each trace what Python computed of its layers

VIEWS.layers = {
  title: "Layers",
  sentence: "What each layer would say if it were the last, and how much each of its parts adds.",
  // In a recurrent network nothing runs through the layers that each of them adds to.
  available: (trace) => trace.layers("encoder") + trace.layers("decoder") > 0 && (trace.model.recurrent?.cell ?? "none") === "none",

  async show(trace, place) {
    const found = await layersOf(trace);
    place.append(...lensOf(trace, found), ...partsOf(trace, found));
  },
};

/** From the file, or asked of the model. */
async function layersOf(trace) {
  if (trace.lens) return trace.lens;
  if (!told.has(trace)) told.set(trace, asked("/api/layers", { trace: trace.id }).then((answer) => answer.json()));
  return told.get(trace);
}

function lensOf(trace, found) {
  const parts = [el("h3", {}, "The logit lens")];
  if (!found.states.length) {
    parts.push(el("p", { class: "warning" }, "This trace was saved without its model, or without the outputs of its layers: what they would say cannot be computed here. Open the model with “pellucid look”."));
    return parts;
  }
  const between = state.all().between === "yes";
  const columns = found.states.filter((one) => between || !one.between);
  const names = rowsOf(trace, found);
  parts.push(
    el("p", { class: "formula" }, formula(found.pre ? "p_l = softmax(norm(x_l) E^T)" : "p_l = softmax(x_l E^T)")),
    el("p", {}, `Here: ${found.described}. `, "A layer in the middle was never trained to be read like this: what it seems to say is a hint. ",
      el("cite", {}, "(nostalgebraist, “interpreting GPT: the logit lens”, 2020)")),
    found.edited.length ? el("p", { class: "warning" }, `The edits of ${found.edited.join(", ")} come after the last layer, so this table does not have them.`) : null,
    el("div", { class: "steps" },
      button("Also after each sublayer", () => state.go({ between: between ? null : "yes", said: null }), { "aria-pressed": String(between) })),
    el("p", { class: "hint" }, "In each cell the most probable output and its probability; ✓: the same as in the last layer. Choose a cell for the five largest."),
    lensTable(trace, found, columns, names),
    cut(found, trace.taps.get(found.states.at(-1).tap).shape[0], names.length > 1),
    five(trace, found, columns, names));
  return parts.filter((part) => part !== null);
}

function cut(found, positions, many) {
  return many && positions > found.limit ? el("p", { class: "hint" }, `The first ${found.limit} of ${positions} positions.`) : null;
}

/** What stands at each row: the token that is read there; a model that pools has one row. */
function rowsOf(trace, found) {
  const last = found.states.at(-1);
  if (last.ids.length === 1 && trace.has("pooled")) return ["the whole"];
  return labelsOf(trace, last.tap, last.ids.length);
}

function labelsOf(trace, tap, count) {
  const labels = trace.labels(trace.taps.get(tap), 0);
  return Array.from({ length: count }, (_, at) => visible(labels?.[at] ?? String(at)));
}

function nameOf(trace, id) {
  return visible(trace.vocabulary[id] ?? String(id));
}

/** JSON has no NaN: a number that is missing is none. */
function real(value) {
  return value === null ? NaN : value;
}

/** Which cell is chosen: [row, tap]. */
function chosenCell(columns, names) {
  const asked_ = state.all().said ?? "";
  const [row, tap] = [Number(asked_.slice(asked_.lastIndexOf(":") + 1)), asked_.slice(0, asked_.lastIndexOf(":"))];
  const column = columns.findIndex((one) => one.tap === tap);
  return column >= 0 && row >= 0 && row < names.length ? [row, column] : [names.length - 1, columns.length - 1];
}

function lensTable(trace, found, columns, names) {
  const [chosenRow, chosenColumn] = chosenCell(columns, names);
  const last = found.states.at(-1);
  const cell = (row, column) => {
    const one = columns[column];
    const [id, share] = [one.ids[row][0], real(one.shares[row][0])];
    const same = id === last.ids[row][0];
    const here = row === chosenRow && column === chosenColumn;
    const ground = colour(share, 1);
    return el("td", {
      role: "gridcell", tabindex: here ? 0 : -1, "aria-selected": here ? "true" : null, "data-row": row, "data-column": column, "data-state": one.tap,
      "data-id": id, "data-value": share, "data-key": `said ${row} ${one.tap}`, style: `background:rgb(${ground});color:${inkOn(ground)}`,
      "aria-label": `${names[row]}, ${one.text}: ${nameOf(trace, id)}, ${shown(share)}${same ? ", as the last layer" : ""}`,
      onclick: () => state.go({ said: `${one.tap}:${row}` }),
    }, el("bdi", {}, nameOf(trace, id)), el("br"), shown(share), same ? " ✓" : "");
  };
  const head = el("tr", { role: "row" }, el("th", { scope: "col", role: "columnheader" }, "position"),
    columns.map((one) => el("th", { scope: "col", role: "columnheader" }, one.text.split(/, |(?<=after) /).map((words, at) => [at ? [" ", el("br")] : null, words]))));
  const rows = names.map((name, row) => el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader", dir: "auto" }, name), columns.map((_, column) => cell(row, column))));
  const table = el("table", { role: "grid", "aria-label": "What each layer would say", onkeydown: (event) => walk(event, table) },
    el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, rows));
  return el("figure", { class: "matrix lens" }, el("div", { class: "scroll", tabindex: "-1" }, table));
}

/** One tab stop; the arrow keys go from cell to cell. */
function walk(event, table) {
  const cell = event.target.closest("td");
  if (!cell) return;
  const [row, column] = [Number(cell.dataset.row), Number(cell.dataset.column)];
  const end = table.rows[1].cells.length - 2;
  const steps = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], Home: [row, 0], End: [row, end] };
  if (event.key === "Enter" || event.key === " ") cell.click();
  else if (steps[event.key]) {
    const next = table.querySelector(`td[data-row="${steps[event.key][0]}"][data-column="${steps[event.key][1]}"]`);
    if (next) {
      cell.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    }
  } else return;
  event.preventDefault();
}

/** The five largest of the chosen cell. */
function five(trace, found, columns, names) {
  const [row, column] = chosenCell(columns, names);
  const one = columns[column];
  const lines = one.ids[row].map((id, place) => {
    const share = real(one.shares[row][place]);
    return el("tr", {}, el("th", { scope: "row", dir: "auto" }, nameOf(trace, id)), el("td", { class: "digits", "data-value": share }, shown(share)), el("td", { class: "room" }, barOf(share, 1)));
  });
  return el("section", { class: "five" },
    el("h4", {}, `${one.text}, `, names.length > 1 ? [`position ${row} (“`, el("bdi", {}, names[row]), "”)"] : names[row], `: the ${lines.length} largest`),
    el("p", {}, el("a", { href: state.link({ view: "walk", tap: one.tap, number: null, said: null }) }, one.tap)),
    scrolling(el("table", { class: "plain wide" }, el("caption", { class: "unseen" }, "the largest of this cell"), el("tbody", {}, lines))));
}

function partsOf(trace, found) {
  if (!found.parts.length) return [];
  const stacks = [...new Set(found.parts.map((part) => part.stack))];
  const stack = stacks.includes(state.all().stack) ? state.all().stack : found.stack;
  const mine = found.parts.filter((part) => part.stack === stack);
  const names = labelsOf(trace, mine[0].tap, mine[0].norms.length);
  const layers = [...new Set(mine.map((part) => part.layer))];
  const byLayer = state.all().rows !== "positions";
  const [position, layer] = [placeOfParts(names), state.number("layer", layers.length)];
  const at = state.all().place === undefined || state.all().place === "mean" ? null : position;
  const rows = byLayer
    ? layers.map((number) => ({ name: `layer ${number}`, parts: mine.filter((part) => part.layer === number), at }))
    : names.map((name, row) => ({ name, parts: mine.filter((part) => part.layer === layers[layer]), at: row }));
  return [
    el("h3", {}, "The parts of the residual"),
    el("p", {}, "How long what each sublayer adds is, beside what it is added to: Euclidean lengths; cos: the cosine of the angle between the two. A long part with a cosine near −1 takes something away."),
    el("div", { class: "steps" },
      stacks.length > 1 ? choice("Stack", stack, stacks.map((one) => [one, one]), (one) => state.go({ stack: one, place: null, layer: null })) : null,
      choice("Rows", byLayer ? "layers" : "positions", [["layers", "the layers"], ["positions", "the positions"]], (one) => state.go({ rows: one })),
      byLayer ? choice("At", at ?? "mean", [["mean", "mean over the positions"], ...names.map((name, row) => [row, `${row}: ${name}`])], (one) => state.go({ place: one }))
        : choice("In", layer, layers.map((number) => [number, `layer ${number}`]), (one) => state.go({ layer: one }))),
    partTable(rows, mine),
    cut(found, trace.taps.get(mine[0].tap).shape[0], true),
  ].filter((part) => part !== null);
}

function placeOfParts(names) {
  return state.number("place", names.length);
}

/** A number at a position, or the mean of those that are numbers. */
function valueAt(numbers, at) {
  if (at !== null) return real(numbers[at]);
  const found = numbers.filter((value) => value !== null);
  return found.length ? found.reduce((some, value) => some + value, 0) / found.length : NaN;
}

function partTable(rows, mine) {
  const kinds = [...new Set(mine.map((part) => part.part))];
  const most = largest(rows.flatMap((row) => row.parts.flatMap((part) => [valueAt(part.norms, row.at), valueAt(part.before, row.at)])));
  const length = (value, tap, what) => el("td", { class: "sized", "data-tap": tap, "data-what": what, "data-value": value }, el("span", { class: "digits" }, shown(value)), barOf(value, most));
  const cells = (row, kind) => {
    const part = row.parts.find((one) => one.part === kind);
    const cosine = valueAt(part.cosines, row.at);
    return [length(valueAt(part.norms, row.at), part.tap, "norm"), el("td", { class: "digits", "data-tap": part.tap, "data-what": "cosine", "data-value": cosine }, Number.isNaN(cosine) ? "none" : shown(cosine))];
  };
  const head = [el("tr", {}, el("td"), el("th", { scope: "col" }, "input"), kinds.map((kind) => [el("th", { scope: "col" }, `|${PARTS[kind]}|`), el("th", { scope: "col" }, el("span", { class: "unseen" }, `${PARTS[kind]}, `), "cos")]))];
  const body = rows.map((row) => el("tr", {}, el("th", { scope: "row", dir: "auto" }, row.name), length(valueAt(row.parts[0].before, row.at), row.parts[0].to, "before"), kinds.map((kind) => cells(row, kind))));
  return scrolling(el("table", { class: "plain parts" }, el("caption", {}, "the input of the layer, what each part adds, and its cosine with what it is added to"), el("thead", {}, head), el("tbody", {}, body)));
}
