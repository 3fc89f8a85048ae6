// Classes: how probable each one is, and where the vector that decides looked: at words, or at squares of a picture.

const ROWS_SHOWN = 64; // classes, words or tokens in a table

VIEWS.classes = {
  title: "Classes",
  sentence: "How probable each class is, and where the model looked.",
  available: (trace) => trace.taps.get("probs")?.axes.at(-1) === "class" && homesOf(trace).length > 0,

  async show(trace, place) {
    const tagged = trace.taps.get("probs").shape.length === 2;
    const tap = trace.taps.get(`${homesOf(trace)[0]}.weights`);
    const names = namesOf(trace, tap, -1);
    place.append(tagged ? await tagTable(trace) : await classBars(trace));
    const from = tagged ? String(state.number("from", names.length, trace.ids.asked?.[0] ?? 0))
      : state.all().from === undefined || state.all().from === "whole" ? "whole" : String(state.number("from", names.length));
    const found = await looked(trace, from);
    place.append(el("h3", {}, "Where it looked"),
      el("div", { class: "steps" }, choice("From", from, [...(tagged ? [] : [["whole", wholeName(trace)]]), ...names.slice(0, MOST).map((name, at) => [at, `${at} ${visible(name)}`])],
        (at) => state.go({ from: at })), found.controls),
      ...found.told,
      el("p", { class: "sentence" }, mostOf(found.shares, names)),
      trace.model.picture.patch ? await overPicture(trace, found.shares) : overWords(found.shares, names));
  },
};

/** What decides for the whole: a token of its own, the mean of all, or the first one. */
function wholeName(trace) {
  if (trace.model.head.pool === "mean") return "the pooled mean: all tokens, on the mean";
  return trace.model.picture.patch ? "the class token, which decides" : "the first token, which decides";
}

/** Probabilities as bars. Of degrees the model gives the thresholds between them, so they are made here. */
async function classBars(trace) {
  const logits = await trace.array("logits");
  const degrees = trace.vocabulary.length === logits.data.length + 1;
  const shares = degrees ? ofDegrees(logits.data) : (await trace.array("probs")).data;
  const order = Array.from(shares.keys());
  if (!degrees) order.sort((one, other) => shares[other] - shares[one] || one - other);
  const rule = degrees
    ? el("p", { class: "hint" }, "Degrees: the model gives one number for each threshold between them; the probability of being above it is σ of that, and at most the one before; a degree has what lies between two of them.")
    : el("p", { class: "formula" }, equation(trace.taps.get("probs")));
  const cut = order.length > ROWS_SHOWN ? el("p", { class: "hint" }, `The first ${ROWS_SHOWN} of ${order.length} classes.`) : null;
  return el("section", {}, rule, bars("The probability of each class", order.slice(0, ROWS_SHOWN).map((at) => [visible(trace.vocabulary[at] ?? String(at)), shares[at]]), { "data-classes": "" }), cut);
}

/** As pellucid.tasks.degrees has it. */
function ofDegrees(logits) {
  let edge = 1;
  const above = Array.from(logits, (logit) => { edge = Math.min(edge, 1 / (1 + Math.exp(-logit))); return edge; });
  const edges = [1, ...above, 0];
  return edges.slice(0, -1).map((value, at) => value - edges[at + 1]);
}

/** Each word with its label; a word is a button: its attention is shown below. */
async function tagTable(trace) {
  const probs = await trace.array("probs");
  const all = trace.names.source ?? Array.from({ length: probs.shape[0] }, (_, at) => String(at));
  const places = trace.ids.asked ?? all.map((_, at) => at);
  const words = trace.names.words ?? places.map((at) => all[at]);
  const chosen = state.number("from", all.length, places[0]);
  const rows = places.slice(0, ROWS_SHOWN).map((at, number) => {
    const shares = probs.row(at);
    const [best, next] = Array.from(shares.keys()).sort((one, other) => shares[other] - shares[one] || one - other);
    const word = el("button", { type: "button", "data-key": `word ${number}`, "aria-pressed": chosen === at ? "true" : "false", onclick: () => state.go({ from: at }) }, visible(words[number]));
    return [word, trace.vocabulary[best], shares[best], trace.vocabulary[next] ?? "", shares[next] ?? ""];
  });
  const cut = places.length > ROWS_SHOWN ? el("p", { class: "hint" }, `The first ${ROWS_SHOWN} of ${places.length} words.`) : null;
  return el("section", {}, table("The label of each word, as its first token says; press a word to see where it looked", ["word", "label", "probability#", "next", "probability#"], rows, { "data-tags": "" }), cut);
}

/** The shares of what is looked at, from one token or from what decides for the whole. */
async function looked(trace, from) {
  const { homes, layer, head, controls } = chosenHead(trace, { rollout: true });
  const map = head === "rollout" ? rollout(await Promise.all(homes.slice(0, layer + 1).map((home) => trace.array(`${home}.weights`))))
    : overHeads(await trace.array(`${homes[layer]}.weights`), head);
  const row = from !== "whole" ? map.row(Number(from)) : trace.model.head.pool === "mean" ? meanRow(map) : map.row(0);
  const told = [head === "rollout"
    ? el("p", { class: "formula" }, formula("R ← ½ (A + I) R"), `, layer by layer up to layer ${layer}, beginning with `, formula("R = I"),
      `: attention rollout (Abnar and Zuidema, 2020). A is the mean of a layer's heads; I, the identity, stands for what the residual hands on unchanged.`)
    : el("p", {}, `Layer ${layer}, ${typeof head === "number" ? `head ${head}` : `the ${{ mean: "mean", max: "largest" }[head]} of its heads`}.`)];
  if (homes.length > 1 || head === "rollout") told.push(el("p", { class: "hint" }, "What attention weights show is what was mixed, not how much it mattered for the answer."));
  return { shares: row, controls, told };
}

/** What reaches each position from each position of the input, if attention and residual share alike. */
function rollout(all) {
  const size = all[0].shape[1];
  let reached = identity(size);
  for (const weights of all) {
    const mean = overHeads(weights, "mean").data;
    const next = new Float64Array(size * size);
    for (let row = 0; row < size; row++) {
      for (let middle = 0; middle < size; middle++) {
        const share = 0.5 * (mean[row * size + middle] + (row === middle ? 1 : 0));
        if (share === 0) continue;
        for (let column = 0; column < size; column++) next[row * size + column] += share * reached[middle * size + column];
      }
    }
    reached = next;
  }
  return new Numbers(reached, [size, size]);
}

function identity(size) {
  return Float64Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0));
}

function meanRow(map) {
  const [rows, columns] = map.shape;
  const found = new Float64Array(columns);
  for (let row = 0; row < rows; row++) map.row(row).forEach((share, at) => { found[at] += share / rows; });
  return found;
}

function mostOf(shares, names) {
  let best = 0;
  shares.forEach((share, at) => { if (share > shares[best]) best = at; });
  return ["Most at ", el("bdi", {}, `“${visible(names[best])}”`), ` (position ${best}): ${percent(shares[best])}`];
}

function overWords(shares, names) {
  const cut = names.length > MOST ? el("p", { class: "hint" }, `The first ${MOST} of ${names.length} tokens.`) : null;
  return el("section", {}, bars("The share of each token", names.slice(0, MOST).map((name, at) => [visible(name), shares[at]]), { "data-shares": "" }), cut);
}

/** The picture as it is, its squares with their shares of attention, and these as a table. */
async function overPicture(trace, shares) {
  const pixels = await trace.array("inputs.source");
  const { patch, height, width } = trace.model.picture;
  const first = shares.length - (height * width) / patch ** 2; // a class token stands before the squares
  const grid = new Numbers(Float64Array.from(shares.slice(first)), [height / patch, width / patch]);
  return el("section", {},
    el("p", { class: "hint" }, first ? `The share of the class token, ${percent(shares[0])}, is not drawn. ` : "", "The bluer a square, the larger its share of attention."),
    el("div", { class: "beside" },
      el("figure", { class: "grow" }, pictureOf(pixels), el("figcaption", {}, `The picture, ${BRIGHTNESS}`)),
      el("figure", { class: "grow" }, pictureOf(pixels, patch, grid), el("figcaption", {}, "and where the model looked")),
      el("div", { class: "grow" }, el("p", {}, "The same in numbers, rows and columns of squares:"),
        matrix(grid, { about: "attention to squares", pick: () => {} }))));
}
