// Positions: what tells the model the order of its tokens. Vectors that are added, angles by which heads turn, or a bias on scores.

const MOST = 256; // positions in a map
const BASE = 10000; // of the paper's formula
const ALIKE = 1e-6; // differences below this are rounding
const LONG = 64; // positions that waves are drawn over, at least: on a short text none would be seen

VIEWS.positions = {
  title: "Positions",
  sentence: "Attention by itself sees a set of tokens. This is what tells it their order.",
  available: (trace) => schemesOf(trace).length > 0,

  async show(trace, place) {
    const found = schemesOf(trace);
    const stacks = found.map(({ stack }) => stack);
    const mine = found[Math.max(0, stacks.indexOf(state.all().stack))];
    if (found.length > 1) place.append(choice("Stack", mine.stack, stacks.map((one) => [one, one]), (stack) => state.go({ stack, number: null })));
    place.append(await { added: addedBy, rotary: turnedBy, bias: biasedBy }[mine.kind](trace, mine));
  },
};

/** For each stack what its positions do, and the tap that shows it. */
function schemesOf(trace) {
  return ["encoder", "decoder"].flatMap((stack) => {
    const home = `${stack}.layers.0.self_attn`;
    if (trace.has(`${stack}.embed.positions`)) return [{ stack, kind: "added", tap: `${stack}.embed.positions` }];
    if (trace.has(`${home}.bias`)) return [{ stack, kind: "bias", tap: `${home}.bias` }];
    if (trace.model.positions === "rotary" && trace.taps.get(`${home}.q`)?.wires?.kind === "rotate") return [{ stack, kind: "rotary", tap: `${home}.q` }];
    return [];
  });
}

// Vectors that are added

async function addedBy(trace, { stack, tap }) {
  const learned = trace.model.positions === "learned";
  const own = await trace.array(tap);
  const labels = trace.labels(trace.taps.get(tap), -2);
  const width = own.shape[1];
  const halves = trace.model.positional.halves;
  const table = learned ? await trace.weight(`${stack}.positions.weight`) : null;
  const reach = learned ? table?.shape[0] ?? 0 : trace.model.max_length;
  const counts = [32, 64, 128, MOST].filter((count) => count <= reach);
  if (learned && table && !counts.includes(reach) && reach < MOST) counts.push(reach);
  const count = counts.find((one) => String(one) === state.all().positions) ?? 0; // 0: those of the text
  const here = { trace, tap, own, width, halves, learned, labels, count, places: trace.taps.get(tap).wires?.positions ?? Array.from({ length: own.shape[0] }, (_, at) => at) };
  const body = el("div", {});
  const drawBody = (base) => body.replaceChildren(...partsOf(here, learned, table, base));
  const base = learned ? BASE : 10 ** (state.number("base", 13, 8) / 2);
  drawBody(base);
  return el("section", { class: "short" },
    el("dl", { class: "measures" }, [["d_model", width], ["positions of this text", own.shape[0]], ["positions at most", trace.model.max_length]].map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])),
    learned ? el("p", {}, "One learned vector for each position, as it is. No formula makes it, and no position past the last has one.") : formulaOf(halves),
    el("div", { class: "steps" },
      choice("Positions", count, [[0, `those of this text (${own.shape[0]})`], ...counts.map((one) => [one, `the first ${one}`])], (one) => state.go({ positions: one === "0" ? null : one, number: null })),
      learned ? null : slider("Base", Math.round(2 * Math.log10(base)), { min: 2, max: 12, step: 1, text: (value) => shownBase(10 ** (value / 2)) }, (value) => {
        state.keep({ base: value });
        drawBody(10 ** (value / 2));
      })),
    reach > MOST ? el("p", { class: "hint" }, `At most ${MOST} of the ${reach} positions in a map.`) : null,
    learned && !table ? el("p", { class: "hint" }, "The whole table is not in this file: open the model with pellucid look.") : null,
    body);
}

/** A position of the text with its token. */
function named(place, token) {
  return token === undefined ? String(place) : `${place}:${token}`;
}

function shownBase(base) {
  return Math.round(base).toLocaleString("en");
}

function formulaOf(halves) {
  const words = halves ? "This model has all sines first, then all cosines: element i and element i + d_model / 2 make a pair." : "Elements 2i and 2i + 1 make a pair: a sine and a cosine of the same angle. Positions begin at 0.";
  return el("div", {}, el("p", { class: "formula" }, formula(halves ? "PE_(pos,i) = sin(pos / 10000^(2i / d))" : "PE_(pos,2i) = sin(pos / 10000^(2i / d))")),
    el("p", { class: "formula" }, formula(halves ? "PE_(pos,i+d/2) = cos(pos / 10000^(2i / d))" : "PE_(pos,2i+1) = cos(pos / 10000^(2i / d))")), el("p", {}, words));
}

/** The formula of an element: which pair, sine or cosine. */
function elementOf(dimension, width, halves) {
  const pair = halves ? dimension % (width / 2) : Math.floor(dimension / 2);
  return { pair, cosine: halves ? dimension >= width / 2 : dimension % 2 === 1 };
}

/** What the formula gives, in 64 bits, kept in 32 as the model does. */
function waves(places, width, halves, base) {
  const data = new Float32Array(places.length * width);
  places.forEach((place, row) => {
    for (let dimension = 0; dimension < width; dimension++) {
      const { pair, cosine } = elementOf(dimension, width, halves);
      data[row * width + dimension] = (cosine ? Math.cos : Math.sin)(place / base ** ((2 * pair) / width));
    }
  });
  return new Numbers(data, [places.length, width]);
}

function partsOf(here, learned, table, base) {
  const { own, width, halves, count } = here;
  const places = count ? Array.from({ length: count }, (_, at) => at) : here.places.slice(0, MOST);
  const ofText = count === 0;
  const numbers = learned ? (ofText ? firstRows(own, MOST) : firstRows(table, count)) : ofText && base === BASE ? firstRows(own, MOST) : waves(places, width, halves, base);
  const isTap = ofText && (learned || base === BASE);
  const rows = ofText ? places.map((place, row) => named(place, here.labels?.[row])) : places.map(String);
  const dimensions = chosenCurves(width, firstWaves(width, halves));
  return [
    learned ? null : el("p", {}, sameAsTap(here, base)),
    el("h3", {}, "Position by dimension"),
    el("p", { class: "hint" }, isTap ? "These are the model's own numbers: choose one for its formula." : learned ? "Rows of the learned table." : "Computed here from the formula; these positions, or this base, are not in the trace."),
    matrix(numbers, { ...(isTap ? { tap: here.tap } : { pick: () => {} }), rows, axes: ["position", "dimension"], about: `what is added, position by dimension${isTap ? "" : ", computed"}` }),
    el("p", { "data-checked": "" }, checkedOf(numbers, rows, learned)),
    ...(learned ? [] : [wavelengths(width, base), elementWalk(here, places, base)]),
    ...wavesSection(...longer(here, learned, table, base, numbers, places), dimensions, learned ? null : (one) => elementOf(one, width, halves)),
    ...similaritySection(numbers, rows, learned),
  ].filter(Boolean);
}

/** Sines that are quick, slower and slow: of the whole width elements 0, 1/8, 1/4 and 1/2. */
function firstWaves(width, halves) {
  const pairs = [0, 1 / 16, 1 / 8, 1 / 4].map((share) => Math.floor(share * width));
  return [...new Set(pairs.map((pair) => (halves ? pair : 2 * pair)))];
}

/** What waves are drawn over: what is shown, or the first 64 positions where that is short and there are more. */
function longer({ width, halves, trace }, learned, table, base, numbers, places) {
  const count = Math.min(LONG, learned ? table?.shape[0] ?? 0 : trace.model.max_length);
  if (places.length >= count) return [numbers, places];
  const first = Array.from({ length: count }, (_, at) => at);
  return [learned ? firstRows(table, count) : waves(first, width, halves, base), first];
}

function firstRows(numbers, count) {
  const rows = Math.min(count, numbers.shape[0]);
  return new Numbers(numbers.data.subarray(0, rows * numbers.shape[1]), [rows, numbers.shape[1]]);
}

/** The formula at the model's own positions against the tap. */
function sameAsTap({ own, places, width, halves }, base) {
  if (base !== BASE) return el("span", { "data-same": "no" }, `The model was built with the base ${shownBase(BASE)}. With ${shownBase(base)} this is what it would have been given.`);
  const computed = waves(places, width, halves, base);
  const off = largest(computed.data.map((value, at) => value - own.data[at]));
  return el("span", { "data-same": off }, `With the base ${shownBase(BASE)} the formula, computed here, ${off === 0 ? "gives every number that the model adds, to its last digit" : `differs from what the model adds by ${off.toExponential(1)} at most`}.`);
}

/** Whether every vector is unique, and every number within -1 and 1: looked up in what is shown. */
function checkedOf(numbers, rows, learned) {
  let [low, high, least, pair] = [Infinity, -Infinity, Infinity, [0, 0]];
  for (const value of numbers.data) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const [count] = numbers.shape;
  for (let one = 0; one < count; one++) {
    for (let other = one + 1; other < count; other++) {
      const far = distanceOf(numbers.row(one), numbers.row(other));
      if (far < least) [least, pair] = [far, [one, other]];
    }
  }
  const unique = count < 2 ? "There is one vector." : least > 0 ? `Each of the ${count} vectors is unique: the two nearest, of positions ${pair.map((at) => rows[at].split(":")[0]).join(" and ")}, lie ${shown(least)} apart.`
    : `Positions ${pair.map((at) => rows[at].split(":")[0]).join(" and ")} have the same vector.`;
  const inside = low >= -1 && high <= 1;
  const bound = `All ${numbers.data.length} numbers lie from ${shown(low)} to ${shown(high)}: ${inside ? "within ±1" : "not within ±1"}${learned ? ", which nothing asks of learned ones" : ", as sines and cosines must"}.`;
  return `${unique} ${bound}`;
}

function wavelengths(width, base) {
  const pairs = width / 2;
  const last = 2 * Math.PI * base ** ((width - 2) / width);
  return el("section", {}, el("h3", {}, "Wavelengths"), el("p", { class: "formula" }, formula("wavelength = 2 π · base^(2i / d)")),
    el("p", {}, `From 2π = ${shown(2 * Math.PI)} positions (pair 0) to `, el("span", { "data-wave": last }, shown(last)), ` (pair ${pairs - 1}, the last); with more dimensions it nears 2π · ${shownBase(base)} = ${shown(2 * Math.PI * base)}. A larger base makes the slow waves slower; pair 0 stays.`));
}

/** One element, from its place to its number. */
function elementWalk(here, places, base) {
  const { width, halves } = here;
  const body = el("div", { "aria-live": "polite" });
  let [row, dimension] = [state.number("at", places.length, Math.min(1, places.length - 1)), state.number("element", width, 0)];
  function drawWalk() {
    const { pair, cosine } = elementOf(dimension, width, halves);
    const [name, place, divisor] = [cosine ? "cos" : "sin", places[row], base ** ((2 * pair) / width)];
    const value = (cosine ? Math.cos : Math.sin)(place / divisor);
    const ofTap = here.count === 0 && base === BASE;
    const steps = [
      `element ${dimension} of position ${place}: pair i = ${pair}, the ${cosine ? "cosine" : "sine"}`,
      `exponent 2i / d = ${2 * pair} / ${width} = ${shown((2 * pair) / width)}`,
      `divisor ${shownBase(base)}^${shown((2 * pair) / width)} = ${shown(divisor)}`,
      `angle ${place} / ${shown(divisor)} = ${shown(place / divisor)}`,
      `${name}(${shown(place / divisor)}) = ${shown(value)}`];
    body.replaceChildren(el("ol", { class: "element", "data-value": value }, steps.map((step) => el("li", {}, step))),
      ofTap ? el("p", {}, el("a", { href: state.link({ number: `${here.tap}:${row},${dimension}` }), "data-key": "element number" }, "as “this number”"), `: ${exact(here.own.at(row, dimension))} in the model`) : "");
  }
  drawWalk();
  const count = [places.length, width];
  return el("section", {}, el("h3", {}, "One element, step by step"), el("div", { class: "steps" },
    slider("Position", row, { min: 0, max: count[0] - 1, step: 1, text: (value) => String(places[value]) }, (value) => { row = value; state.keep({ at: value }); drawWalk(); }),
    slider("Element", dimension, { min: 0, max: count[1] - 1, step: 1 }, (value) => { dimension = value; state.keep({ element: value }); drawWalk(); })), body);
}

// Curves of chosen columns

/** The columns that are drawn: from the address, else these. */
function chosenCurves(count, fallback) {
  const asked_ = state.all().curves;
  if (asked_ === undefined) return fallback;
  const found = asked_.split(",").map(Number).filter((one) => Number.isInteger(one) && one >= 0 && one < count);
  return [...new Set(found)].slice(0, CURVES);
}

/** Which columns are drawn, with what adds one and takes one away. */
function curveChoice(word, chosen, count) {
  const rest = Array.from({ length: count }, (_, one) => one).filter((one) => !chosen.includes(one));
  return el("div", { class: "steps" },
    chosen.map((one) => button(`${word} ${one} ✕`, () => state.go({ curves: chosen.filter((other) => other !== one).join(",") }), { "aria-label": `take ${word} ${one} away` })),
    chosen.length < CURVES && rest.length ? choice(`Add ${word}`, "", [["", "choose"], ...rest.map((one) => [one, `${word} ${one}`])], (one) => { if (one !== "") state.go({ curves: [...chosen, one].join(",") }); }) : el("span", { class: "hint" }, `At most ${CURVES}.`));
}

function wavesSection(numbers, places, dimensions, element) {
  const name = (one) => {
    if (!element) return `dimension ${one}`;
    const { pair, cosine } = element(one);
    return `dimension ${one} (${cosine ? "cosine" : "sine"} of pair ${pair})`;
  };
  const series = dimensions.map((one) => ({ name: name(one), key: String(one), values: places.map((_, row) => numbers.at(row, one)) }));
  return [el("h3", {}, "Waves of single dimensions"), el("p", { class: "hint" }, `Over positions ${places[0]} to ${places.at(-1)}.`), curveChoice("dimension", dimensions, numbers.shape[1]),
    ...curvesOf(series, places, { horizontal: "position", vertical: "number" }, `dimensions ${dimensions.join(", ")}`, "dimension")];
}

/** Curves with their numbers as a table. */
function curvesOf(series, places, axes, what, word) {
  if (!series.length) return [el("p", {}, "None is chosen.")];
  return [curves(series, places, { ...axes, about: `${what}; the table below has the numbers` }), asTable(what, word, places.map(String), series)];
}

/** The same as the curves, as a matrix that can be read. */
function asTable(about, word, rows, series) {
  const data = Float32Array.from(rows.flatMap((_, row) => series.map(({ values }) => values[row])));
  return el("details", {}, el("summary", { "data-key": `table ${about}` }, "The curves as a table"),
    matrix(new Numbers(data, [rows.length, series.length]), { rows, columns: series.map(({ key }) => key), axes: ["position", word], about, pick: () => {} }));
}

// How alike positions are

function similaritySection(numbers, rows, learned) {
  const cosine = state.all().alike !== "dot";
  const found = similarities(numbers, cosine);
  const off = alongDiagonals(found);
  const words = off < 1e-4 ? `It depends on the distance alone: along a diagonal it ${off === 0 ? "is the same" : `varies by ${off.toExponential(1)}, which is rounding`}.`
    : `Along a diagonal, at the same distance, it varies by up to ${shown(off)}: it depends on more than the distance${learned ? "" : " (the slow waves are rounded)"}.`;
  return [el("h3", {}, "How alike positions are"),
    choice("Measure", cosine ? "cosine" : "dot", [["cosine", "cosine"], ["dot", "dot product, PE PE^T"]], (value) => state.go({ alike: value === "dot" ? "dot" : null })),
    el("p", { class: "formula" }, formula(cosine ? "PE_a · PE_b / (|PE_a| |PE_b|)" : "PE PE^T")),
    el("p", { "data-diagonal": off }, words),
    square(found, { rows, columns: rows, axes: ["position", "position"], about: `similarity of positions, ${cosine ? "cosine" : "dot product"}`, pick: () => {} })];
}

/** A matrix of positions by positions, its picture as high as it is wide. */
function square(numbers, options) {
  return el("div", { class: "square" }, matrix(numbers, options));
}

/** By how much a square matrix varies along any of its diagonals. */
function alongDiagonals(square) {
  const count = square.shape[0];
  let most = 0;
  for (let offset = 0; offset < count; offset++) {
    let [low, high] = [Infinity, -Infinity];
    for (let at = 0; at + offset < count; at++) {
      const value = square.at(at, at + offset);
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    most = Math.max(most, high - low);
  }
  return most;
}

// Angles by which heads are turned

async function turnedBy(trace, { stack, tap }) {
  const { wires, shape } = trace.taps.get(tap);
  const config = trace.model.positional.rotary;
  const counts = [32, 64, 128, MOST].filter((count) => count <= trace.model.max_length);
  const count = counts.find((one) => String(one) === state.all().positions) ?? 0;
  const places = count ? Array.from({ length: count }, (_, at) => at) : wires.positions.slice(0, MOST);
  const names = trace.labels(trace.taps.get(tap), -2);
  const rows = places.map((place, at) => (count ? String(place) : named(place, names?.[at])));
  const pairs = wires.frequencies.length;
  const body = el("div", {});
  const own = Math.round(2 * Math.log10(config.base)) / 2;
  const movable = config.scaling === "none" && Math.abs(10 ** own - config.base) < ALIKE;
  const drawBody = (base) => body.replaceChildren(...turnedParts(base === config.base ? wires.frequencies : wires.frequencies.map((_, pair) => base ** (-pair / pairs)), places, rows, { base, config, width: shape.at(-1) }));
  const base = movable ? 10 ** (state.number("base", 13, 2 * own) / 2) : config.base;
  drawBody(base);
  return el("section", { class: "short" },
    el("dl", { class: "measures" }, [["d_model", trace.model.d_model], ["width of a head", shape.at(-1)], ["pairs of a head", pairs], ["positions of this text", wires.positions.length]].map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])),
    el("p", {}, `Nothing is added (rotary positions). In every layer of the ${stack} each pair of numbers of a query or key, i and i + ${pairs}, is turned by an angle that grows with its position, so that their dot product depends on the distance of the two. `,
      el("a", { href: state.link({ view: "walk", tap, number: null }) }, "See the turned queries.")),
    el("p", { class: "formula" }, formula("angle = pos · base^(-2i / d_head)")),
    config.scaling === "none" ? null : el("p", {}, `The waves are stretched for longer texts (${config.scaling}, factor ${config.factor}).`),
    el("div", { class: "steps" },
      choice("Positions", count, [[0, `those of this text (${wires.positions.length})`], ...counts.map((one) => [one, `the first ${one}`])], (one) => state.go({ positions: one === "0" ? null : one })),
      movable ? slider("Base", Math.round(2 * Math.log10(base)), { min: 2, max: 12, step: 1, text: (value) => shownBase(10 ** (value / 2)) }, (value) => {
        state.keep({ base: value });
        drawBody(10 ** (value / 2));
      }) : null),
    body);
}

function turnedParts(frequencies, places, rows, { base, config, width }) {
  const pairs = frequencies.length;
  const angles = new Numbers(Float32Array.from(places.flatMap((place) => Array.from(frequencies, (frequency) => place * frequency))), [places.length, pairs]);
  const vectors = new Numbers(Float32Array.from(places.flatMap((place) => [...Array.from(frequencies, (frequency) => Math.cos(place * frequency)), ...Array.from(frequencies, (frequency) => Math.sin(place * frequency))])), [places.length, 2 * pairs]);
  const chosen = chosenCurves(pairs, [0, 1, 2, 3].filter((one) => one < pairs));
  const over = places.length < LONG ? Array.from({ length: LONG }, (_, at) => at) : places;
  const series = chosen.map((pair) => ({ name: `pair ${pair} (${pair} and ${pair + pairs})`, key: String(pair), values: over.map((place) => Math.cos(place * frequencies[pair])) }));
  return [
    base === config.base ? null : el("p", {}, `The model was built with the base ${shownBase(config.base)}. With ${shownBase(base)} this is what it would have been.`),
    el("h3", {}, "Angle of each pair, in radians"),
    matrix(angles, { rows, axes: ["position", "pair"], about: "angle in radians, position by pair", pick: () => {} }),
    el("p", {}, `Pair 0 turns by ${shown(frequencies[0])} from one position to the next, once around in ${shown((2 * Math.PI) / frequencies[0])} positions; pair ${pairs - 1} by ${shown(frequencies.at(-1))}, once around in ${shown((2 * Math.PI) / frequencies.at(-1))}. All ${width} numbers of a head keep their length.`),
    el("h3", {}, "Waves of single pairs"), curveChoice("pair", chosen, pairs),
    ...curvesOf(series, over, { horizontal: "position", vertical: "cosine of the angle" }, `cosines of the angles of pairs ${chosen.join(", ")}`, "pair"),
    el("h3", {}, "How alike positions are"),
    el("p", {}, "What the turns alone leave of the product of two equal queries: the mean cosine of the angles between two positions. It depends on the distance alone."),
    square(similarities(vectors, true), { rows, columns: rows, axes: ["position", "position"], about: "mean cosine of the angles between positions", pick: () => {} }),
  ].filter(Boolean);
}

// A bias on scores

async function biasedBy(trace, { stack, tap }) {
  const numbers = await trace.array(tap);
  const [heads, count] = numbers.shape;
  const alibi = trace.model.positions === "alibi";
  const { distances, values, off } = overDistance(numbers);
  const chosen = chosenCurves(heads, Array.from({ length: Math.min(heads, CURVES) }, (_, head) => head));
  const series = chosen.map((head) => ({ name: `head ${head}`, values: values[head] }));
  const every = new Numbers(Float32Array.from(distances.flatMap((_, at) => values.map((of) => of[at]))), [distances.length, heads]);
  const head = state.number("head", heads);
  const labels = trace.labels(trace.taps.get(tap), -1);
  return el("section", { class: "short" },
    el("dl", { class: "measures" }, [["d_model", trace.model.d_model], ["positions of this text", count], ["heads", heads]].map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])),
    el("p", {}, alibi ? `Nothing is added to the embedding (ALiBi). To every score of the ${stack} a bias is added: minus the distance of query and key, times a slope of the head.`
      : `Nothing is added to the embedding (T5). To every score of the ${stack} a learned number is added, for each head and distance of query and key; far distances share one.`),
    el("p", { class: "formula" }, formula(alibi ? "b = - slope_h |key - query|" : "b = table_(h, key - query)")),
    el("h3", {}, "Bias against distance"),
    el("p", { "data-distance": off }, off < ALIKE ? "Of each head the bias is the same wherever the distance is: it depends on that alone." : `At one distance the bias varies by up to ${shown(off)}.`),
    curveChoice("head", chosen, heads),
    series.length ? curves(series, distances, { horizontal: "key minus query", vertical: "bias", about: `bias over distance of heads ${chosen.join(", ")}; the table below has the numbers` }) : el("p", {}, "No head is chosen."),
    matrix(every, { rows: distances.map((one) => minus(String(one))), axes: ["key minus query", "head"], about: "bias, distance by head", pick: () => {} }),
    alibi ? el("p", { "data-slopes": "" }, `Slopes: ${values.map((of, one) => `head ${one} ${shown(-of[distances.indexOf(-1)])}`).join(", ")}.`) : null,
    el("h3", {}, "As it is added, query by key"),
    choice("Head", head, values.map((_, one) => [one, `head ${one}`]), (one) => state.go({ head: one, number: null })),
    matrix(numbers.matrix(head), { tap, head, rows: labels, columns: labels, axes: ["query", "key"], about: tap }));
}

/** Of each head the bias at each distance, key minus query, and by how much it varies at one distance. */
function overDistance(numbers) {
  const [heads, count] = numbers.shape;
  const reach = Math.min(count, MOST);
  const distances = Array.from({ length: 2 * reach - 1 }, (_, at) => at - reach + 1);
  let off = 0;
  const values = Array.from({ length: heads }, (_, head) => distances.map((distance) => {
    const found = [];
    for (let query = Math.max(0, -distance); query < count && query + distance < count; query++) found.push(numbers.at(head, query, query + distance));
    off = Math.max(off, Math.max(...found) - Math.min(...found));
    return found[0];
  }));
  return { distances, values, off };
}
