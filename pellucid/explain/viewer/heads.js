// The attentions of a trace: which there are, and a layer and head of them that is chosen.

const KINDS = { cross: "cross-attention", encoder: "encoder self-attention", decoder: "decoder self-attention" };
const MOST = 256; // tokens on either side of a map

function homesOf(trace) {
  return trace.list.map((tap) => tap.name).filter((name) => /_attn\.weights$/.test(name)).map((name) => name.replace(/\.weights$/, ""));
}

function kindOf(home) {
  return home.endsWith("cross_attn") ? "cross" : home.split(".")[0];
}

/** The number of the layer that an attention belongs to: a recurrent decoder has one attention alone, in its last layer. */
function layerOf(home) {
  return Number(home.split(".")[2]);
}

function namesOf(trace, tap, axis) {
  return trace.labels(tap, axis) ?? Array.from({ length: tap.shape.at(axis) }, (_, at) => String(at));
}

/** One head of (H, T, S), or what becomes of all of them together. */
function overHeads(weights, head) {
  if (!["mean", "max"].includes(head)) return weights.matrix(head);
  const [heads, rows, columns] = weights.shape;
  const data = new Float32Array(rows * columns);
  for (let place = 0; place < data.length; place++) {
    for (let at = 0; at < heads; at++) {
      const value = weights.data[at * data.length + place];
      data[place] = head === "mean" ? data[place] + value / heads : Math.max(data[place], value);
    }
  }
  return new Numbers(data, [rows, columns]);
}

/** What the address says of kind, layer and head, and the controls to choose others. */
function chosenHead(trace, { rollout = false } = {}) {
  const homes = homesOf(trace);
  const kinds = Object.keys(KINDS).filter((kind) => homes.some((home) => kindOf(home) === kind));
  const kind = kinds.includes(state.all().kind) ? state.all().kind : kinds[0];
  const mine = homes.filter((home) => kindOf(home) === kind);
  const layer = state.number("layer", mine.length, mine.length - 1);
  const heads = trace.taps.get(`${mine[layer]}.weights`).shape[0];
  const words = { mean: "mean of the heads", max: "largest of the heads", ...(rollout ? { rollout: "rollout of the layers" } : {}) };
  const asked_ = state.all().head ?? (rollout ? "mean" : "0");
  const head = Object.hasOwn(words, asked_) ? asked_ : state.number("head", heads);
  const controls = [
    kinds.length > 1 ? choice("Which", kind, kinds.map((one) => [one, KINDS[one]]), (one) => state.go({ kind: one, layer: null, query: null, number: null })) : null,
    choice("Layer", layer, mine.map((home, at) => [at, `layer ${layerOf(home)}`]), (at) => state.go({ layer: at, number: null })),
    choice("Head", head, [...Array.from({ length: heads }, (_, at) => [at, `head ${at}`]), ...Object.entries(words)], (at) => state.go({ head: at, number: null })),
  ];
  return { home: mine[layer], homes: mine, kind, layer, head, controls };
}

/** The map of one head, or of all of them together, of a trace that has it; null where it has not. */
async function headMap(trace, home, head) {
  const tap = trace.taps.get(`${home}.weights`);
  if (!tap || (typeof head === "number" && head >= tap.shape[0])) return null;
  return { numbers: overHeads(await trace.array(tap.name), head), rows: namesOf(trace, tap, -2), columns: namesOf(trace, tap, -1) };
}

/** A map with its name. `most`: what is darkest, so that maps side by side have one scale. */
function namedMap(name, map, most, about) {
  const [rows, columns] = map.numbers.shape;
  const found = Math.max(rows, columns) > MOST
    ? el("p", { class: "warning" }, `A map of ${rows} × ${columns} is not drawn: at most ${MOST} tokens on either side. Take a shorter text.`)
    : matrix(map.numbers, { rows: map.rows, columns: map.columns, axes: ["query", "key"], about, pick: () => {}, most });
  return el("section", { class: "grow", "data-map": about }, el("h4", {}, name), found);
}
