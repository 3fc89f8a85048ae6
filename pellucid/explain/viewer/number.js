// "This number": the whole sum of one cell, each operand with the place that it came from.
//
// expand() gives { intro, terms, after, result }: terms are products of operands, their sum goes through the steps of `after`.
// An operand is { name, index, value, weight }: a tap or weight of the model; or { text, value }: a constant.

const EXPANSIONS = {
  async lookup({ trace, wires, index }) {
    const id = wires.ids[index[0]];
    return single(await weightAt(trace, wires.weight, [id, ...index.slice(1)]), `row ${id} of the table`);
  },

  async scale({ trace, wires, index }) {
    return sum([[await tapAt(trace, wires.x, index), { text: wires.as, value: wires.by }]]);
  },

  async sum({ trace, wires, index }) {
    return sum(await Promise.all(wires.of.map(async (name) => [await tapAt(trace, name, index)])));
  },

  async linear({ trace, wires, index, shape }) {
    const column = wires.heads ? index[0] * shape[2] + index[2] : index.at(-1);
    const row = wires.heads ? [index[1]] : index.slice(0, -1);
    const [x, weight] = [await trace.array(wires.x), await trace.weight(wires.weight)];
    if (weight === null) return missing(wires.weight);
    const terms = [];
    for (let place = 0; place < weight.shape[1]; place++) {
      terms.push([operand(wires.x, [...row, place], x), operand(wires.weight, [column, place], weight, true)]);
    }
    const after = [];
    if (wires.by !== undefined && wires.by !== 1) after.push({ text: `times ${shown(wires.by)}`, apply: (value) => value * wires.by });
    if (wires.bias === null) return { ...sum(terms, after), intro: "a row of vectors times a column of the weights; no bias" };
    const bias = operand(wires.bias, [column], await trace.weight(wires.bias), true);
    after.push({ text: "plus the bias", operand: bias, apply: (value) => value + bias.value });
    return { ...sum(terms, after), intro: "a row of vectors times a column of the weights, plus the bias" };
  },

  async patch({ trace, wires, index }) {
    const [patch, column] = [index[0] - (wires.first === null ? 0 : 1), index[1]];
    if (patch < 0) return single(await weightAt(trace, wires.first, [column]), "the class token, learned");
    const [pixels, weight] = [await trace.array("inputs.source"), await trace.weight(wires.weight)];
    if (weight === null) return missing(wires.weight);
    const [channels, , width] = pixels.shape;
    const [side, across] = [wires.side, Math.floor(width / wires.side)];
    const [top, left] = [Math.floor(patch / across) * side, (patch % across) * side];
    const terms = [];
    for (let channel = 0; channel < channels; channel++) {
      for (let place = 0; place < side * side; place++) {
        const at = [channel, top + Math.floor(place / side), left + (place % side)];
        const pixel = { text: `pixel ${at}`, value: pixels.at(...at) };
        terms.push([pixel, operand(wires.weight, [column, channel * side * side + place], weight, true)]);
      }
    }
    const bias = operand(wires.bias, [column], await trace.weight(wires.bias), true);
    return { ...sum(terms, [{ text: "plus the bias", operand: bias, apply: (value) => value + bias.value }]), intro: "the pixels of the square times a column of the weights" };
  },

  async dot({ trace, wires, index: [head, query, key] }) {
    const [q, k] = [await trace.array(wires.q), await trace.array(wires.k)];
    const group = Math.floor(head / (q.shape[0] / k.shape[0]));
    const terms = [];
    for (let place = 0; place < q.shape[2]; place++) {
      terms.push([operand(wires.q, [head, query, place], q), operand(wires.k, [group, key, place], k)]);
    }
    return { ...sum(terms), intro: "the dot product of the query, which asks, and the key, which is asked" };
  },

  async additive({ trace, wires, index: [head, query, key] }) {
    const [q, k, weight] = [await trace.array(wires.q), await trace.array(wires.k), await trace.weight(wires.weight)];
    if (weight === null) return missing(wires.weight);
    const terms = [];
    for (let place = 0; place < q.shape[2]; place++) {
      const value = Math.tanh(q.at(head, query, place) + k.at(head, key, place));
      terms.push([{ text: `tanh(q + k)[${place}]`, value }, operand(wires.weight, [head, place], weight, true)]);
    }
    return { ...sum(terms), intro: "query and key added, squeezed by tanh, and weighed" };
  },

  async masked({ trace, wires, index }) {
    const mask = await tapAt(trace, wires.mask, index);
    if (mask.value === 0) return { intro: "this key may not be looked at", terms: [], after: [], result: -Infinity };
    const terms = [[await tapAt(trace, wires.x, index)]];
    if (wires.added !== null) terms.push([await tapAt(trace, wires.added, index)]);
    return { ...sum(terms), intro: "this key may be looked at" };
  },

  async softmax({ trace, wires, index, shape }) {
    const x = await trace.array(wires.x);
    const added = wires.added === null ? null : await trace.array(wires.added);
    const [before, size] = [index.slice(0, -1), shape.at(-1)];
    const values = Array.from({ length: size }, (_, place) => x.at(...before, place) + (added ? added.at(...before, place) : 0));
    const peak = Math.max(...values.slice(0, 1), values.reduce((most, value) => Math.max(most, value), -Infinity));
    if (peak === -Infinity) return { intro: "nothing may be looked at, so every share is 0", terms: [], after: [], result: 0 };
    const powers = values.map((value) => Math.exp(value - peak));
    const total = powers.reduce((some, value) => some + value, 0);
    const mine = index.at(-1);
    const order = values.map((_, place) => place);
    if (size > 64) order.sort((one, other) => values[other] - values[one]);
    const terms = order.map((place) => [{ ...operand(wires.x, [...before, place], x), value: powers[place], text: `exp(${shown(values[place])} − ${shown(peak)})` }]);
    return {
      intro: `exp of each number less the largest of the row, ${shown(peak)}, which changes no share; the sum is what they are divided by`,
      terms, sum: total, after: [{ text: `exp(${shown(values[mine])} − ${shown(peak)}) = ${shown(powers[mine])}, divided by that sum`, apply: () => powers[mine] / total }],
      result: powers[mine] / total,
    };
  },

  async mix({ trace, wires, index: [head, query, place] }) {
    const [weights, v] = [await trace.array(wires.weights), await trace.array(wires.v)];
    const group = Math.floor(head / (weights.shape[0] / v.shape[0]));
    const terms = [];
    for (let key = 0; key < weights.shape[2]; key++) {
      terms.push([operand(wires.weights, [head, query, key], weights), operand(wires.v, [group, key, place], v)]);
    }
    return { ...sum(terms), intro: "each value times its share of attention" };
  },

  async concat({ trace, wires, index: [row, column] }) {
    const z = await trace.array(wires.z);
    const at = [Math.floor(column / z.shape[2]), row, column % z.shape[2]];
    return single(operand(wires.z, at, z), `head ${at[0]} stands in columns ${at[0] * z.shape[2]} to ${(at[0] + 1) * z.shape[2] - 1}`);
  },

  async copy({ trace, wires, index }) {
    return single(await tapAt(trace, wires.x, index), "the same number under another name");
  },

  async rotate({ trace, wires, index: [head, row, column] }) {
    const x = await trace.array(wires.x);
    const half = x.shape[2] / 2;
    const pair = column % half;
    const angle = wires.positions[row] * wires.frequencies[pair];
    const [first, second] = [operand(wires.x, [head, row, pair], x), operand(wires.x, [head, row, pair + half], x)];
    const [cosine, sine] = [{ text: `cos(${shown(angle)})`, value: Math.cos(angle) }, { text: `sin(${shown(angle)})`, value: Math.sin(angle) }];
    const against = { text: `−sin(${shown(angle)})`, value: -Math.sin(angle) };
    const terms = column < half ? [[first, cosine], [second, against]] : [[second, cosine], [first, sine]];
    return { ...sum(terms), intro: `numbers ${pair} and ${pair + half} turned by position ${wires.positions[row]} times ${shown(wires.frequencies[pair])} radians` };
  },

  async wave({ wires, index: [row, column], shape }) {
    const [position, width] = [wires.positions[row], shape[1]];
    const pair = wires.halves ? column % (width / 2) : Math.floor(column / 2);
    const cosine = wires.halves ? column >= width / 2 : column % 2 === 1;
    const divisor = 10000 ** ((2 * pair) / width);
    const name = cosine ? "cos" : "sin";
    const result = (cosine ? Math.cos : Math.sin)(position / divisor);
    return {
      intro: `${name}(position / 10000^(${2 * pair} / ${width})); positions begin at 0`, terms: [],
      after: [{ text: `${name}(${position} / ${shown(divisor)}) = ${name}(${shown(position / divisor)})`, apply: () => result }], result,
    };
  },

  async mean({ trace, wires, index }) {
    const terms = await vector(trace, wires.x, index);
    const count = terms.length / wires.x.length;
    return { ...sum(terms, [{ text: `divided by ${count}`, apply: (value) => value / count }]), intro: "the mean of the vector" };
  },

  async std({ trace, wires, index }) {
    const mean = wires.mean === null ? 0 : (await tapAt(trace, wires.mean, index)).value;
    const parts = await vector(trace, wires.x, index);
    const count = parts.length / wires.x.length;
    const values = Array.from({ length: count }, (_, place) => parts.filter((__, at) => at % count === place).reduce((some, [one]) => some + one.value, 0));
    const terms = values.map((value, place) => [{ ...(wires.x.length === 1 ? parts[place][0] : {}), text: `(${shown(value)} − ${shown(mean)})²`, value: (value - mean) ** 2 }]);
    const after = [{ text: `divided by ${count}`, apply: (value) => value / count },
      { text: `plus epsilon ${wires.epsilon}, and the square root`, apply: (value) => Math.sqrt(value + wires.epsilon) }];
    return { ...sum(terms, after), intro: "the squares of what is left when the mean is taken away; n in the denominator" };
  },

  async normalized({ trace, wires, index }) {
    const row = [...index.slice(0, -1), 0];
    const terms = await Promise.all(wires.x.map(async (name) => [await tapAt(trace, name, index)]));
    const std = await tapAt(trace, wires.std, row);
    if (wires.mean !== null) terms.push([await tapAt(trace, wires.mean, row), { text: "−1", value: -1 }]);
    return { ...sum(terms, [{ text: "divided by the standard deviation", operand: std, apply: (value) => value / std.value }]), intro: "the mean taken away, divided by the standard deviation" };
  },

  async gain({ trace, wires, index }) {
    const gain = await weightAt(trace, wires.weight, [index.at(-1)]);
    if (gain === null) return missing(wires.weight);
    const terms = [[await tapAt(trace, wires.x, index), gain]];
    if (wires.bias !== null) terms.push([await weightAt(trace, wires.bias, [index.at(-1)])]);
    return { ...sum(terms), intro: "scaled and shifted by learned numbers" };
  },

  async activation({ trace, wires, index }) {
    const x = await tapAt(trace, wires.x, index);
    const gate = wires.gate ? await tapAt(trace, wires.gate, index) : null;
    const given = gate ?? x;
    const value = ACTIVATIONS[wires.function](given.value);
    const step = { text: `${wires.function}(${shown(given.value)})`, apply: () => value };
    if (gate === null) return { ...sum([[x]], [step]), intro: `${wires.function} of one number` };
    return { ...sum([[{ ...gate, text: step.text, value }, x]]), intro: "what the gate lets through" };
  },

  async pool({ trace, wires, index: [column] }) {
    const x = await trace.array(wires.x);
    const real = wires.real ?? Array(x.shape[0]).fill(true);
    if (wires.how === "class") return single(operand(wires.x, [real.indexOf(true), column], x), "the vector of the first token");
    const rows = real.map((one, row) => (one ? row : -1)).filter((row) => row >= 0);
    const terms = rows.map((row) => [operand(wires.x, [row, column], x)]);
    return { ...sum(terms, [{ text: `divided by ${rows.length}`, apply: (value) => value / rows.length }]), intro: "the mean over the tokens" };
  },
};

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0), reglu: (x) => Math.max(x, 0),
  gelu: (x) => x * 0.5 * (1 + erf(x / Math.SQRT2)), geglu: (x) => x * 0.5 * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: gelu, geglu_tanh: gelu,
  silu: (x) => x / (1 + Math.exp(-x)), swiglu: (x) => x / (1 + Math.exp(-x)),
  glu: (x) => 1 / (1 + Math.exp(-x)), tanh: Math.tanh,
};

function gelu(x) {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** The error function: its series near zero, else the continued fraction of its complement. */
function erf(x) {
  const size = Math.abs(x);
  if (size < 2.5) {
    let [term, total] = [size, size];
    for (let n = 1; n < 60; n++) {
      term *= -(size * size) / n;
      total += term / (2 * n + 1);
    }
    return Math.sign(x) * total * (2 / Math.sqrt(Math.PI));
  }
  let fraction = size;
  for (let n = 60; n > 0; n--) fraction = size + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * fraction));
}

function operand(name, index, numbers, weight = false) {
  return { name, index, value: numbers.at(...index), weight };
}

/** A number of a tap; of a vector the row is left out. */
async function tapAt(trace, name, index) {
  const numbers = await trace.array(name);
  return operand(name, index.slice(-numbers.shape.length), numbers);
}

async function weightAt(trace, name, index) {
  const numbers = await trace.weight(name);
  return numbers === null ? null : operand(name, index.slice(-numbers.shape.length), numbers, true);
}

/** Every number of the row that a cell of a norm is made of; of several taps that are added, all of them. */
async function vector(trace, names, index) {
  const terms = [];
  for (const name of names) {
    const x = await trace.array(name);
    const row = x.shape.length === 1 ? [] : [index[0]];
    for (let place = 0; place < x.shape.at(-1); place++) terms.push([operand(name, [...row, place], x)]);
  }
  return terms;
}

function product(term) {
  return term.reduce((some, one) => some * one.value, 1);
}

function sum(terms, after = []) {
  const total = terms.reduce((some, term) => some + product(term), 0);
  return { intro: "", terms, sum: total, after, result: after.reduce((value, step) => step.apply(value), total) };
}

function single(one, intro) {
  return one === null ? missing("the table") : { ...sum([[one]]), intro };
}

function missing(name) {
  return { intro: `${name} is not in this file: open the model itself with "pellucid look" to see the sum`, terms: [], after: [], result: null };
}

/** The sum of one cell; null where the formula is a rule, or the model came without its weights. */
async function expand(trace, name, index) {
  const tap = trace.taps.get(name);
  if (!tap?.wires || !(tap.wires.kind in EXPANSIONS)) return null;
  return EXPANSIONS[tap.wires.kind]({ trace, wires: tap.wires, index, shape: tap.shape });
}

/** Where a number stands, in the words of its axes. */
function placeOf(trace, name, index) {
  const tap = trace.taps.get(name);
  if (!tap) return index.join(", ");
  return index.map((at, axis) => {
    const label = trace.labels(tap, axis)?.[at];
    return label === undefined ? `${tap.axes[axis]} ${at}` : visible(label);
  }).join(", ");
}

const TERMS = 16; // shown before "all"

/** The panel beside the view. */
async function showNumber(trace, place) {
  const chosen = state.all().number;
  const [name, where] = chosen ? [chosen.slice(0, chosen.lastIndexOf(":")), chosen.slice(chosen.lastIndexOf(":") + 1)] : [null, ""];
  const tap = name === null ? undefined : trace.taps.get(name);
  const index = where.split(",").map(Number);
  const inside = tap && index.length === tap.shape.length && index.every((at, axis) => at >= 0 && at < tap.shape[axis]);
  if (!inside) {
    const hint = chosen ? "There is no such number in this trace." : "Choose a number, by a click or with the arrow keys and Enter: here stands its whole sum, each operand a link to where it came from.";
    place.replaceChildren(el("h2", {}, "This number"), el("p", {}, hint));
    return;
  }
  const value = (await trace.array(name)).at(...index);
  const found = await expand(trace, name, index);
  fill(place,
    el("h2", {}, "This number"),
    el("p", {}, el("a", { href: state.link({ view: "walk", tap: name }) }, name), el("br"), placeOf(trace, name, index)),
    el("p", { class: "value", "data-value": value }, tap.boolean ? (value ? "yes" : "no") : exact(value)),
    el("p", {}, equation(tap)),
    el("p", {}, tap.sentence),
    trace.edited.includes(name) ? el("p", { class: "warning" }, "This tap was edited: its sum gives the number before the edit.") : null,
    ...(found ? expansion(trace, found, value) : [el("p", {}, rule(trace, tap))]),
    el("p", {}, button("Close", () => state.go({ number: null }))),
  );
}

function rule(trace, tap) {
  if (tap.wires?.kind === "rule") return `The rule: ${tap.wires.rule}.`;
  return "This trace was saved without its model, so where the number came from is not known here.";
}

function expansion(trace, found, value) {
  const parts = [el("p", { class: "intro" }, found.intro)];
  if (found.terms.length) parts.push(termTable(trace, found));
  let running = found.sum;
  for (const step of found.after) {
    running = step.apply(running);
    parts.push(el("p", { class: "after" }, `${step.text} `, step.operand ? operandLink(trace, step.operand) : null, ` = ${shown(running)}`));
  }
  if (found.result !== null) {
    const off = Math.abs(found.result - value);
    const text = Number.isFinite(found.result) && Number.isFinite(value)
      ? `Summed up here in 64 bits: ${exact(found.result)}; the model, in its own precision, differs by ${off.toExponential(1)}.`
      : `Summed up here: ${shown(found.result)}.`;
    parts.push(el("p", { class: "checked", "data-result": found.result }, text));
  }
  return parts;
}

function termTable(trace, found) {
  const factors = Math.max(...found.terms.map((term) => term.length));
  const row = (term) => el("tr", {}, Array.from({ length: factors }, (_, at) => el("td", {}, at < term.length ? operandLink(trace, term[at]) : null)),
    el("td", { class: "digits" }, shown(product(term))));
  const body = el("tbody", {}, found.terms.slice(0, TERMS).map(row));
  const foot = el("tfoot", {}, el("tr", {}, el("th", { scope: "row", colspan: factors }, `sum of ${found.terms.length}`), el("td", { class: "digits" }, shown(found.sum))));
  const heads = el("tr", {}, Array.from({ length: factors }, (_, at) => el("th", { scope: "col" }, at ? "times" : "number")), el("th", { scope: "col" }, factors > 1 ? "product" : "value"));
  const table = el("table", { class: "terms" }, el("caption", { class: "unseen" }, "the terms of the sum"), el("thead", {}, heads), body, foot);
  const rest = found.terms.length - TERMS;
  const all = rest > 0 ? button(`and ${rest} more`, (event) => { body.replaceChildren(...found.terms.map(row)); event.target.remove(); }) : null;
  return scrolling(table, all);
}

function operandLink(trace, one) {
  const digits = el("span", { class: "digits" }, shown(one.value));
  if (one.name === undefined) return [digits, el("small", {}, ` ${one.text}`)];
  if (one.weight) return [digits, el("small", { title: one.name }, ` ${one.name.split(".").slice(-2).join(".")}[${one.index}]`)];
  const symbol = one.text ?? trace.taps.get(one.name)?.symbol ?? one.name;
  const link = el("a", { href: state.link({ number: `${one.name}:${one.index}` }), title: `${one.name}, ${placeOf(trace, one.name, one.index)}` }, `${symbol}[${one.index}]`);
  return [digits, el("small", {}, " ", link)];
}
