// The sums of recurrent networks: gates, cells and states, and how they read the state before.

/** The terms of a sum of products: vectors side by side times a row of a matrix, and its bias. `extra`: one more factor of each. */
async function productTerms(trace, part, row, column, extra = []) {
  const weight = await trace.weight(part.weight);
  if (weight === null) return null;
  const terms = [];
  let place = 0;
  for (const [number, name] of part.x.entries()) {
    const x = await trace.array(name);
    for (let at = 0; at < x.shape.at(-1); at++, place++) {
      terms.push([await readAt(trace, part, name, x, number, row, at), operand(part.weight, [column, place], weight, true), ...extra]);
    }
  }
  if (part.bias !== null) terms.push([operand(part.bias, [column], await trace.weight(part.bias), true), ...extra]);
  return terms;
}

/** One number that a product reads: of the row itself, of the one before it, of what the state begins with, or of a row named. */
async function readAt(trace, part, name, x, number, row, at) {
  const before = part.at ? part.at[number] : part.rows ? part.rows[row] : row;
  if (before < 0) return part.begun === null ? { text: "nothing before", value: 0 } : tapAt(trace, part.begun, [at]);
  return operand(name, x.shape.length === 3 ? [0, before, at] : [before, at], x);
}

async function stateBefore(trace, wires, row, at) {
  return readAt(trace, wires, wires.x, await trace.array(wires.x), 0, row, at);
}

Object.assign(EXPANSIONS, {
  async product({ trace, wires, index }) {
    const [row, column] = [index.length > 1 ? index.at(-2) : 0, index.at(-1)];
    const parts = await Promise.all(wires.of.map((part) => productTerms(trace, part, row, column)));
    if (parts.includes(null)) return missing(wires.of[0].weight);
    const after = wires.function ? [{ text: `${wires.function} of the sum`, apply: ACTIVATIONS[wires.function] }] : [];
    return { ...sum(parts.flat(), after), intro: "what is read times a row of the weights, and the biases" };
  },

  async gates({ trace, wires, index: [row, column], shape }) {
    const count = wires.cell === "lstm" ? 4 : 3;
    const width = shape[1] / count;
    const name = (wires.cell === "lstm" ? ["input gate", "forget gate", "candidate", "output gate"] : ["reset gate", "update gate", "candidate"])[Math.floor(column / width)];
    const reset = wires.cell === "gru" && name === "candidate" ? [operand(wires.gates, [row, column - 2 * width], await trace.array(wires.gates))] : [];
    const parts = [await productTerms(trace, wires.of[0], row, column), await productTerms(trace, wires.of[1], row, column, reset)];
    if (parts.includes(null)) return missing(wires.of[0].weight);
    const squash = name === "candidate" ? "tanh" : "sigmoid";
    const after = [{ text: `${squash} of the sum`, apply: squash === "tanh" ? Math.tanh : ACTIVATIONS.glu }];
    return { ...sum(parts.flat(), after), intro: `the ${name}: what is read and the state before it, each times a row of its weights` };
  },

  async cell({ trace, wires, index: [row, column], shape }) {
    const gates = await trace.array(wires.gates);
    const gate = (number) => operand(wires.gates, [row, number * shape[1] + column], gates);
    const before = await stateBefore(trace, wires, row, column);
    return { ...sum([[gate(1), before], [gate(0), gate(2)]]), intro: "what the forget gate leaves of the cell before, and what the input gate lets in of the candidate" };
  },

  async state({ trace, wires, index: [row, column], shape }) {
    const gates = await trace.array(wires.gates);
    const gate = (number) => operand(wires.gates, [row, number * shape[1] + column], gates);
    if (wires.of === "lstm") {
      const cell = await tapAt(trace, wires.cell, [row, column]);
      return { ...sum([[gate(3), { ...cell, text: `tanh(${shown(cell.value)})`, value: Math.tanh(cell.value) }]]), intro: "what the output gate lets out of the cell" };
    }
    const update = gate(1);
    const rest = { ...update, text: `1 − ${shown(update.value)}`, value: 1 - update.value };
    return { ...sum([[rest, gate(2)], [update, await stateBefore(trace, wires, row, column)]]), intro: "between the candidate and the state before, as the update gate says" };
  },

  async beside({ trace, wires, index }) {
    const [row, column] = [index.length > 1 ? index[0] : 0, index.at(-1)];
    if (wires.real && !wires.real[row]) return { intro: "padding: nothing is handed on", terms: [], after: [], result: 0 };
    let left = column;
    for (const part of wires.of) {
      const x = await trace.array(part.x);
      const width = part.width ?? x.shape.at(-1);
      if (left < width) return single(operand(part.x, [part.row ?? row, part.start + left], x), "vectors side by side: the same number");
      left -= width;
    }
    throw new Error("a column beyond what stands side by side");
  },
});
