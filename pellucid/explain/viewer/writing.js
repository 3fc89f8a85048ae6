// How the output of a trace was written, for the views that look at its steps: see told() in pellucid/explain/explain.py.

const writing = {
  OFFLINE: "this file has no model behind it: open the model with pellucid look",
  outputs: new Map(), // of this visit, that nothing was forced upon, by their question

  /** Whether the model writes at all. */
  any(trace) {
    return trace.writing?.ids !== undefined;
  },

  /** The row of the logits, and the query of the decoder, that wrote the first token: before it stands the prompt. */
  first(trace) {
    return writing.any(trace) ? trace.writing.prompt - 1 : 0;
  },

  /** What was asked for, in words. */
  way(trace) {
    const { decoding, seed, given } = trace.writing;
    if (given) return "The output was given, not searched for.";
    if (decoding.temperature > 0) return `The output was drawn: ${writing.filters(decoding)}, seed ${seed}.`;
    return decoding.beams === 1 ? "Greedy search: the most probable token, every time." : `Beam search with ${decoding.beams} beams.`;
  },

  filters({ temperature, top_k, top_p, min_p }) {
    const named = [["top-k", top_k, 0], ["top-p", top_p, 1], ["min-p", min_p, 0]].filter(([, value, off]) => value !== off);
    return [`temperature ${temperature}`, ...named.map(([name, value]) => `${name} ${value}`)].join(", ");
  },

  /** What a sum of log probabilities is divided by for n tokens: pellucid/decoding/penalties.py. */
  penalty(trace, n) {
    const { length_penalty: kind, alpha } = trace.writing.decoding;
    return kind === "gnmt" ? ((5 + n) / 6) ** alpha : kind === "power" ? n ** alpha : 1;
  },

  /** The same as a formula, and in words. */
  penaltyFormula(trace) {
    const { length_penalty: kind, alpha } = trace.writing.decoding;
    const words = { gnmt: ["((5 + n) / 6)", `gnmt, α ${alpha}`], power: ["n", `power, α ${alpha}`] }[kind];
    return words ? { text: `score = sum of log p / ${words[0]}^α`, words: words[1] } : { text: "score = sum of log p", words: "no length penalty" };
  },

  /** The ids with which an output must begin, so that it has this token at this step. */
  prefixTo(trace, step, token) {
    return [...trace.writing.ids.slice(0, step), token];
  },

  /** The changes of the address that force a prefix. */
  force(prefix) {
    return { prefix: JSON.stringify(prefix), output: null, number: null, node: null };
  },

  /** What is forced, and the way back; null where nothing is. */
  note(trace) {
    const prefix = trace.writing?.prefix ?? [];
    const before = writing.outputs.get(writing.unforced());
    if (!prefix.length) {
      writing.outputs.set(writing.unforced(), trace.output);
      return null;
    }
    const names = trace.names.written.slice(0, prefix.length).map((name) => el("bdi", { class: "token" }, visible(name)));
    return el("div", { class: "warning", "data-forced": JSON.stringify(prefix) },
      el("p", {}, "You chose how the output begins: ", names.map((name) => [name, " "]), "and the model went on: ", el("strong", { dir: "auto" }, trace.output)),
      before === undefined ? null : el("p", {}, "Left to itself it wrote: ", el("bdi", {}, before)),
      el("p", {}, button("Back to what the model wrote", () => state.go({ prefix: null, number: null, node: null }),
        { disabled: !view.live, title: view.live ? null : writing.OFFLINE })));
  },

  /** What the address asks, but for what is forced. */
  unforced() {
    const { prefix, ...rest } = question();
    return JSON.stringify(rest);
  },
};
