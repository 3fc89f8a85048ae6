// What might come next: from logits to what the filters leave of them, and to the token that a random number picks.
// The same steps in the same order as pellucid/decoding: rules.py, filters.py, sampling.py. All numbers are of 64 bits.

const chances = {
  /** What becomes of a token: it is kept, or a filter removed it, or it may not come at all, or, at temperature 0, it is not the largest. */
  KEPT: 0, TOP_K: 1, TOP_P: 2, MIN_P: 3, FORBIDDEN: 4, SMALLER: 5,

  /**
   * Natural log probabilities of one row of logits, of all tokens. With a repetition penalty, those of tokens that are among
   * the written ones are made worse before. In 32 bits, as the search has them.
   */
  logProbabilities(logits, { penalty = 1, written = [] } = {}) {
    const [values, factor] = [Float32Array.from(logits), Math.fround(penalty)];
    if (penalty !== 1) for (const token of new Set(written)) values[token] = logits[token] > 0 ? logits[token] / factor : logits[token] * factor;
    const peak = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const total = Math.fround(Math.log(values.reduce((some, value) => some + Math.exp(value - peak), 0)));
    return values.map((value) => Math.fround(value - peak) - total);
  },

  /** Tokens that may not come after those written, each with the reason: what is never written, and the rules of the search. */
  forbidden({ never = [], end = null, minLength = 0, ngram = 0, written = [] } = {}) {
    const found = new Map(never.map((token) => [token, "never written"]));
    if (end !== null && written.length < minLength) found.set(end, `no end before ${minLength} tokens`);
    if (ngram > 0 && written.length >= ngram) {
      const begun = written.slice(written.length - ngram + 1).join();
      for (let at = 0; at + ngram <= written.length; at++) {
        if (written.slice(at, at + ngram - 1).join() === begun) found.set(written[at + ngram - 1], `no ${ngram} tokens in a row come twice`);
      }
    }
    return found;
  },

  /** Log probabilities from which a search chooses: -inf where a token may not come. The others stay as they are. */
  permitted(values, forbidden) {
    const found = Float64Array.from(values);
    for (const token of forbidden.keys()) found[token] = -Infinity;
    return found;
  },

  /** Ids from the largest value down; of equal ones the lower id first. */
  ranked(values) {
    return Uint32Array.from(values.keys()).sort((one, other) => (values[one] === values[other] ? one - other : values[other] - values[one]));
  },

  /** Shares of 1. */
  softmax(values) {
    const peak = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const powers = Float64Array.from(values, (value) => (value === -Infinity ? 0 : Math.exp(value - peak)));
    const total = powers.reduce((some, value) => some + value, 0);
    return powers.map((value) => value / total);
  },

  /**
   * Temperature, then top-k, then top-p, then min-p; at temperature 0 the most probable token alone.
   *
   * `values`: log probabilities, -inf where a token may not come; `order`: their ranked(). Gives for each token its share
   * `before` the filters (after the temperature) and `after` them, its fate, how many are kept, and the mass that is kept.
   */
  filtered(values, { temperature = 1, topK = 0, topP = 1, minP = 0 }, order = chances.ranked(values)) {
    const peak = values[order[0]];
    const greedy = temperature === 0;
    const logits = Float64Array.from(values, (value) => (value - peak) / (greedy ? 1 : temperature));
    const fates = Uint8Array.from(values, (value) => (value === -Infinity ? chances.FORBIDDEN : chances.KEPT));
    const left = Float64Array.from(logits);
    const remove = (token, fate) => {
      left[token] = -Infinity;
      if (fates[token] === chances.KEPT) fates[token] = fate;
    };
    if (greedy) order.subarray(1).forEach((token) => remove(token, chances.SMALLER));
    else {
      if (topK > 0) order.subarray(topK).forEach((token) => remove(token, chances.TOP_K));
      if (topP < 1) chances.beyond(left, order, topP).forEach((token) => remove(token, chances.TOP_P));
      if (minP > 0) order.forEach((token) => { if (left[token] < left[order[0]] + Math.log(minP)) remove(token, chances.MIN_P); });
    }
    const [before, after] = [chances.softmax(logits), chances.softmax(left)];
    let [kept, mass] = [0, 0];
    for (const token of order) {
      if (fates[token] !== chances.KEPT) continue;
      kept += 1;
      mass += before[token];
    }
    return { before, after, fates, kept, mass };
  },

  /** Of shares in the order of the ids: the first token at which their sum passes u, and where its interval begins and ends. */
  drawn(shares, u) {
    let total = 0;
    for (const share of shares) total += share;
    let sum = 0;
    for (let token = 0; token < shares.length; token++) {
      if (shares[token] === 0) continue;
      const begin = sum;
      sum += shares[token];
      if (sum > u * total) return { token, begin, end: sum };
    }
    return null;
  },

  /** The tokens after the one with which the sum of shares reaches p. */
  beyond(left, order, p) {
    const shares = chances.softmax(left);
    let sum = 0;
    const last = order.findIndex((token) => { sum += shares[token]; return sum >= p; });
    return last < 0 ? order.subarray(order.length) : order.subarray(last + 1);
  },
};
