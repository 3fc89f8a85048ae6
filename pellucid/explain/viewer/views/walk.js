// The walk: every step of the computation in its order, as formula, sentence, inputs, weights and output, with the real numbers.

VIEWS.walk = {
  title: "Walk",
  sentence: "Every step in its order, with its real numbers.",

  async show(trace, place) {
    const steps = trace.list.filter((tap) => !tap.name.startsWith("decode."));
    const wanted = steps.findIndex((tap) => tap.name === state.all().tap);
    const at = Math.max(0, wanted);
    const tap = steps[at];
    const go = (to) => state.go({ view: "walk", tap: steps[Math.max(0, Math.min(to, steps.length - 1))].name, number: null });
    const parts = [
      el("div", { class: "beside" }, diagram(trace, tap.name), el("div", { class: "grow" },
        el("div", { class: "steps" },
          button("‹ Previous", () => go(at - 1), { disabled: at === 0, "aria-keyshortcuts": "k" }),
          el("span", {}, `step ${at + 1} of ${steps.length}`),
          button("Next ›", () => go(at + 1), { disabled: at === steps.length - 1, "aria-keyshortcuts": "j" }),
          choice("Go to", tap.name, steps.map((one) => [one.name, one.name]), (name) => state.go({ view: "walk", tap: name, number: null }))),
        el("h3", {}, tap.name),
        el("p", { class: "formula" }, equation(tap)),
        el("p", {}, `${tap.sentence}: `, tap.axes.map((axis, number) => `${tap.shape[number]} ${axis}`).join(" × ")),
        asksLine(tap), await inputsOf(trace, tap), await outputOf(trace, tap))),
    ];
    if (wanted < 0) parts.unshift(await pictureRead(trace), tokenTable(trace));
    filled(place, {}, parts);
    announce(`step ${at + 1} of ${steps.length}: ${tap.name}`);
  },

  keys: {
    j: () => press("Next ›"),
    k: () => press("‹ Previous"),
  },
};

function press(text) {
  document.querySelector(`#main [data-key="button ${text}"]`)?.click();
}

function asksLine(tap) {
  if (tap.axes.at(-1) !== "key") return null;
  return el("p", { class: "hint" }, "Rows: the query, which asks. Columns: the key, which is asked.");
}

/** The picture that the model was given, with the squares that are its positions. */
async function pictureRead(trace) {
  const { patch } = trace.model.picture ?? { patch: 0 };
  if (!patch || trace.inputs.source === undefined) return null;
  return el("section", {}, el("h3", {}, "Picture to squares to numbers"), el("figure", { class: "picture" }, pictureOf(await trace.array("inputs.source"), patch),
    el("figcaption", { class: "hint" }, `The picture, ${BRIGHTNESS}. Each square of ${patch} × ${patch} pixels is a position, named by row and column from 0.`)));
}

/** What the model was given: tokens and their numbers. */
function tokenTable(trace) {
  const sides = ["source", "target"].filter((side) => side in trace.names && trace.ids[side]);
  if (!sides.length) return null;
  const words = { source: "the encoder reads", target: "the decoder reads, one place behind what is to be written" };
  return el("section", {}, el("h3", {}, "Text to tokens to numbers"), sides.map((side) => scrolling(
    el("table", { class: "plain" }, el("caption", {}, words[side]),
      el("tr", {}, el("th", { scope: "row" }, "token"), trace.names[side].map((name) => el("td", { dir: "auto" }, visible(name)))),
      el("tr", {}, el("th", { scope: "row" }, "row of the embedding"), trace.ids[side].map((id) => el("td", {}, String(id))))))));
}

/** The taps that a step reads, each a link with its size, and its weights. */
async function inputsOf(trace, tap) {
  const wires = tap.wires;
  if (!wires) return null;
  const named = ["x", "q", "k", "v", "z", "mean", "std", "mask", "added", "gate", "weights"].map((key) => wires[key]).concat(wires.of ?? []).flat()
    .filter((name) => typeof name === "string" && trace.has(name));
  const weights = ["weight", "bias"].map((key) => wires[key]).filter((name) => typeof name === "string");
  const items = [...new Set(named)].map((name) => el("li", {}, el("a", { href: state.link({ view: "walk", tap: name, number: null }) }, name), ` ${sizes(trace.taps.get(name).shape)}`));
  for (const name of weights) items.push(el("li", {}, await weightBlock(trace, name)));
  if (wires.kind === "rule") items.push(el("li", {}, wires.rule));
  return items.length ? el("section", {}, el("h4", {}, "Made from"), el("ul", {}, items)) : null;
}

async function weightBlock(trace, name) {
  if (!(name in trace.weights)) return `${name}: learned, not in this file`;
  const block = el("details", { "data-weight": name }, el("summary", {}, `${name} ${sizes(trace.weights[name])}, learned`));
  block.addEventListener("toggle", async () => {
    if (!block.open || block.children.length > 1) return;
    const weight = await trace.weight(name);
    block.append(matrix(weight.matrix(), { about: name, axes: ["output", "input"], pick: () => {}, wide: 8 }));
  });
  return block;
}

function sizes(shape) {
  return `(${shape.join(" × ")})`;
}

/** The numbers of a step; of several heads one, and a choice of the others. */
async function outputOf(trace, tap) {
  const numbers = await trace.array(tap.name);
  const heads = tap.axes[0] === "head" && tap.shape.length === 3 ? tap.shape[0] : 0;
  const head = heads ? state.number("head", heads) : null;
  const axes = [tap.axes.at(-2) ?? "", tap.axes.at(-1)];
  const options = { tap: tap.name, head, rows: tap.shape.length > 1 ? trace.labels(tap, -2) : null, columns: trace.labels(tap, -1), axes, about: tap.name };
  const parts = [el("h4", {}, "Gives")];
  if (heads > 1) parts.push(choice("Head", head, Array.from({ length: heads }, (_, at) => [at, `head ${at} of ${heads}`]), (at) => state.go({ head: at })));
  if (["vocabulary", "class"].includes(tap.axes.at(-1))) parts.push(bestOf(trace, tap, numbers));
  parts.push(matrix(numbers.matrix(head ?? 0), options));
  if (tap.axes.at(-1) === "key" && tap.name.endsWith(".weights")) {
    const shares = numbers.matrix(head ?? 0);
    const sums = Array.from({ length: shares.shape[0] }, (_, row) => shares.row(row).reduce((some, value) => some + value, 0));
    parts.push(el("p", { class: "hint" }, `Rows sum to ${shown(Math.min(...sums))}${Math.max(...sums) - Math.min(...sums) > 5e-5 ? ` to ${shown(Math.max(...sums))}` : ""}.`));
  }
  return el("section", {}, parts);
}

/** The five largest of each row of a distribution, in words. */
function bestOf(trace, tap, numbers) {
  const rows = numbers.matrix();
  const labels = tap.shape.length > 1 ? trace.labels(tap, -2) : null;
  const lines = [];
  for (let row = 0; row < rows.shape[0]; row++) {
    const values = rows.row(row);
    const best = Array.from(values.keys()).sort((one, other) => values[other] - values[one] || one - other).slice(0, 5);
    lines.push(el("tr", {}, el("th", { scope: "row", dir: "auto" }, visible(labels?.[row] ?? "")),
      best.map((token) => el("td", {}, el("bdi", {}, visible(trace.vocabulary[token] ?? String(token))), ` ${shown(values[token])}`))));
  }
  return scrolling(el("table", { class: "plain" }, el("caption", {}, `The largest of ${rows.shape[1]}`), lines));
}
