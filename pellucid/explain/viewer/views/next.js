// The next token: the whole distribution at one position, what temperature and filters leave of it, and the draw.
// While a control is moved its view follows in place; the address keeps every value: next_temperature, next_top_k, next_top_p,
// next_min_p, next_u, position, find, bars.

const AROUND = 64; // tokens of the line of positions
const INTERVALS = 200; // drawn on the bar of the draw
const FOUND = 20; // tokens that a search shows
const BARS = [10, 20, 64];
const OWN = ["next_temperature", "next_top_k", "next_top_p", "next_min_p", "next_u"];

VIEWS.next = {
  title: "Next token",
  sentence: "What might come next: the whole distribution, what the filters leave of it, and the draw.",
  available: (trace) => trace.has("logits") && trace.taps.get("logits").axes.length === 2 && trace.taps.get("logits").axes[1] === "vocabulary",

  async show(trace, place) {
    const spot = spotOf(trace);
    const logits = (await trace.array("logits")).row(spot.row);
    filled(place, {}, [writing.note(trace), positions(trace, spot)]);
    if (!logits.every((value) => Number.isFinite(value) || value === -Infinity)) {
      place.append(el("p", { class: "warning" }, "NaN or infinity is among the logits of this position: there is no distribution."));
      return;
    }
    const given = distribution(trace, spot, logits);
    const ways = waysOf(trace, spot);
    const parts = { sum: el("section"), bars: el("section"), draw: el("div"), found: el("div") };
    const update = () => refill(trace, spot, given, ways, parts);
    place.append(
      el("p", { class: "sentence" }, sentenceOf(trace, spot, given)),
      controls(trace, given, ways, update),
      parts.sum, parts.bars,
      el("section", {}, el("h3", {}, "The draw"), parts.draw, drawControls(spot, ways, update)),
      el("section", {}, el("h3", {}, "Find a token"), finder(ways, update), parts.found));
    update();
    announce(`position ${spot.row}: ${place.querySelector(".sentence").textContent}`);
  },

  keys: {
    j: () => document.querySelector('#main [data-key="button Next ›"]')?.click(),
    k: () => document.querySelector('#main [data-key="button ‹ Previous"]')?.click(),
  },
};

/** Where we are: row of the logits, step of the search (null: in the prompt, or the model does not write), the token that came. */
function spotOf(trace) {
  const rows = trace.taps.get("logits").shape[0];
  const [writes, first] = [writing.any(trace), writing.first(trace)];
  const gap = writes ? -1 : (trace.names.source ?? []).findIndex((name) => /^[<[]?mask[>\]]?$/i.test(name));
  const row = state.number("position", rows, writes ? first : Math.max(gap, 0));
  const step = writes && row >= first ? row - first : null;
  const came = step !== null ? trace.writing.ids[step] : writes ? trace.ids.target?.[row + 1] : undefined;
  const recorded = trace.steps[step ?? -1]?.draw ?? null;
  const forced = step !== null && step < trace.writing.prefix.length;
  return { row, rows, first, writes, step, came: came ?? null, forced, recorded: forced ? null : recorded };
}

/** The token of each row: what was written there, or read. */
function positions(trace, spot) {
  const read = trace.names.target ?? trace.names.source ?? [];
  const label = (row) => {
    if (!spot.writes) return read[row];
    return row >= spot.first ? trace.names.written[row - spot.first] : read[row + 1];
  };
  const begin = Math.max(0, Math.min(spot.row - AROUND / 2, spot.rows - AROUND));
  const end = Math.min(begin + AROUND, spot.rows);
  const go = (row) => state.go({ position: row, number: null, next_u: null });
  const items = Array.from({ length: end - begin }, (_, at) => begin + at).map((row) => el("li", { class: spot.writes && row < spot.first ? "given" : null },
    button(visible(label(row)) || "?", () => go(row), { "data-key": `position ${row}`, dir: "auto", "aria-pressed": row === spot.row ? "true" : "false",
      "aria-label": `position ${row}: ${visible(label(row))}${spot.writes && row < spot.first ? ", given" : ""}` })));
  const words = spot.writes
    ? [spot.first > 0 ? "Dashed: given, not written. " : "", writing.way(trace)]
    : ["The model reads the whole text, and says for each place what might stand there."];
  const cut = spot.rows > AROUND ? ` Shown: positions ${begin} to ${end - 1} of ${spot.rows}.` : "";
  return el("section", {},
    el("div", { class: "steps" },
      button("‹ Previous", () => go(spot.row - 1), { disabled: spot.row === 0, "aria-keyshortcuts": "k" }),
      el("span", {}, spot.step !== null ? `output token ${spot.step + 1} of ${trace.writing.ids.length}` : `position ${spot.row} of ${spot.rows - 1}`),
      button("Next ›", () => go(spot.row + 1), { disabled: spot.row === spot.rows - 1, "aria-keyshortcuts": "j" })),
    el("p", { class: "hint" }, spot.writes ? "Choose the token whose alternatives you want to see. " : "Choose a place. ", ...words, cut),
    el("ol", { class: "line-of-tokens", "aria-label": "positions" }, items));
}

/** The numbers of a position that no control changes. */
function distribution(trace, spot, logits) {
  const { decoding = {}, forbidden: never = [], end = null, ids = [] } = trace.writing ?? {};
  const before = ids.slice(0, spot.step ?? 0);
  const own = spot.step !== null;
  const values = chances.logProbabilities(logits, own ? { penalty: decoding.repetition_penalty, written: before } : {});
  const forbidden = own ? chances.forbidden({ never, end, minLength: decoding.min_length, ngram: decoding.no_repeat_ngram, written: before }) : new Map();
  const permitted = chances.permitted(values, forbidden);
  const model = Float64Array.from(values, Math.exp);
  const best = chances.ranked(values);
  const rank = new Uint32Array(best.length);
  best.forEach((token, at) => { rank[token] = at + 1; });
  return { values, permitted, forbidden, model, best, rank, order: chances.ranked(permitted), never: new Set(never) };
}

/** The values of the controls: of the address, else as the model drew; where it searched, at temperature 1 without filters. */
function waysOf(trace, spot) {
  const drew = spot.step !== null && trace.writing.decoding.temperature > 0;
  const used = drew ? trace.writing.decoding : { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };
  const size = trace.taps.get("logits").shape[1];
  const all = state.all();
  const read = (key, fallback, least, most) => {
    const value = all[key] === undefined || all[key] === "" ? NaN : Number(all[key]);
    return Number.isFinite(value) ? Math.max(least, Math.min(value, most)) : fallback;
  };
  return {
    temperature: read("next_temperature", used.temperature, 0, 100), topK: Math.round(read("next_top_k", used.top_k, 0, size)),
    topP: read("next_top_p", used.top_p, 1e-6, 1), minP: read("next_min_p", used.min_p, 0, 1),
    u: read("next_u", spot.recorded ?? 0.5, 0, 1 - 2 ** -53), find: all.find ?? "", bars: BARS.includes(Number(all.bars)) ? Number(all.bars) : BARS[1], drew,
  };
}

function nameOf(trace, token) {
  return visible(trace.vocabulary[token] ?? `<${token}>`);
}

function quoted(trace, token) {
  return el("bdi", {}, `“${nameOf(trace, token)}”`);
}

function sentenceOf(trace, spot, given) {
  const best = given.best[0];
  const parts = [quoted(trace, best), ` is the most probable of ${given.best.length.toLocaleString("en")} tokens: ${percent(given.model[best])}.`];
  if (spot.came === null) return parts;
  const verb = spot.step === null ? "The text has " : spot.forced ? "You chose " : trace.writing.given ? "The output has " : "The model wrote ";
  if (spot.came === best) return [...parts, ` ${verb}it.`];
  return [...parts, ` ${verb}`, quoted(trace, spot.came), `: rank ${given.rank[spot.came]}, ${percent(given.model[spot.came])}.`];
}

/** A slider and a field for one value. `values`: what the steps of the slider stand for; the field takes any number. */
function dial(label, key, ways, name, { values, words, least, most, step, hint }, update) {
  const nearest = () => values.reduce((best, value, at) => (Math.abs(value - ways[name]) < Math.abs(values[best] - ways[name]) ? at : best), 0);
  const range = el("input", { type: "range", min: 0, max: values.length - 1, step: 1, value: nearest(), "data-key": `slider ${label}`, "aria-label": label, "aria-valuetext": words(ways[name]) });
  const field = el("input", { type: "number", min: least, max: most, step, value: ways[name], "data-key": `field ${label}`, "aria-label": `${label}, as a number` });
  const output = el("output", {}, words(ways[name]));
  const set = (value) => {
    ways[name] = value;
    range.setAttribute("aria-valuetext", words(value));
    output.textContent = words(value);
    state.keep({ [key]: String(value) });
    update();
  };
  range.addEventListener("input", () => { set(values[Number(range.value)]); field.value = String(ways[name]); });
  field.addEventListener("input", () => {
    const value = field.valueAsNumber;
    if (!Number.isFinite(value) || value < least || value > most) return; // half typed
    set(name === "topK" ? Math.round(value) : value);
    range.value = String(nearest());
  });
  return el("div", { class: "dial" }, el("span", { class: "dial-name" }, label), range, field, output, hint ? el("small", {}, hint) : null);
}

function spread(count, least, most) {
  return Array.from({ length: count + 1 }, (_, at) => Number((least + ((most - least) * at) / count).toFixed(4)));
}

/** 0 (all), 1, 2, 3 ... in steps that grow, up to the size of the vocabulary. */
function counts(size) {
  const found = [0];
  for (let value = 1; value < size; value = Math.max(value + 1, Math.round(value * 1.15))) found.push(value);
  return [...found, size];
}

function controls(trace, given, ways, update) {
  const size = given.best.length;
  const plain = (value) => String(Number(value.toFixed(4)));
  const dials = [
    dial("Temperature", "next_temperature", ways, "temperature", { values: spread(80, 0, 2), words: (value) => (value === 0 ? "0: greedy" : plain(value)), least: 0, most: 100, step: "any",
      hint: "log p is divided by it: below 1 sharper, above 1 flatter" }, update),
    dial("Top-k", "next_top_k", ways, "topK", { values: counts(size), words: (value) => (value === 0 || value >= size ? "all" : `the best ${value}`), least: 0, most: size, step: 1,
      hint: "so many tokens stay; 0: all" }, update),
    dial("Top-p", "next_top_p", ways, "topP", { values: spread(99, 0.01, 1), words: (value) => (value === 1 ? "1: all" : plain(value)), least: 1e-6, most: 1, step: "any",
      hint: "the fewest tokens stay that together reach it" }, update),
    dial("Min-p", "next_min_p", ways, "minP", { values: spread(100, 0, 1), words: (value) => (value === 0 ? "0: all" : plain(value)), least: 0, most: 1, step: "any",
      hint: "tokens stay with at least this share of the best one's" }, update),
  ];
  return el("section", { "aria-label": "temperature and filters" },
    el("h3", {}, "Temperature, then top-k, then top-p, then min-p, then shared out anew"),
    dials,
    el("p", { class: "steps" },
      button("Greedy", () => state.go({ next_temperature: 0 }, true)),
      button("No filters", () => state.go({ next_temperature: 1, next_top_k: 0, next_top_p: 1, next_min_p: 0 }, true)),
      button(ways.drew ? "As the model drew" : "Reset", () => state.go(Object.fromEntries(OWN.map((key) => [key, null])), true), { "data-key": "button reset" })),
    anew(trace, ways));
}

/** The whole output, drawn by the model with these settings. */
function anew(trace, ways) {
  if (!writing.any(trace)) return null;
  const field = el("input", { type: "number", min: 0, step: 1, value: trace.writing.seed, "data-key": "field seed", id: "seed" });
  const press = () => {
    const draws = ways.temperature > 0;
    state.go({
      temperature: ways.temperature, top_k: draws && ways.topK ? ways.topK : null, top_p: draws && ways.topP < 1 ? ways.topP : null,
      min_p: draws && ways.minP ? ways.minP : null, seed: draws ? field.value || 0 : null, beams: 1, output: null, number: null, node: null,
      ...Object.fromEntries(OWN.map((key) => [key, null])),
    });
  };
  return el("p", { class: "steps" }, el("label", { class: "field", for: "seed" }, "Seed", field),
    button("Write the whole output like this", press, { disabled: !view.live }), view.live ? null : el("small", {}, `Not here: ${writing.OFFLINE}.`));
}

/** Everything that follows the controls. */
function refill(trace, spot, given, ways, parts) {
  const found = chances.filtered(given.permitted, ways, given.order);
  const stand = { trace, spot, given, ways, found, most: Math.max(found.before[given.order[0]], found.after[given.order[0]]) };
  fill(parts.sum, summary(stand));
  fill(parts.bars, bars(stand));
  fill(parts.draw, drawing(stand));
  fill(parts.found, matches(stand));
}

/** How much each filter takes away. */
function summary({ given, ways, found }) {
  const size = given.best.length;
  const taken = [[chances.TOP_K, "top-k"], [chances.TOP_P, "top-p"], [chances.MIN_P, "min-p"], [chances.SMALLER, "temperature 0"]].map(([fate, name]) => {
    let [count, mass] = [0, 0];
    found.fates.forEach((one, token) => { if (one === fate) { count += 1; mass += found.before[token]; } });
    return { name, count, mass };
  }).filter((one) => one.count);
  const removed = taken.reduce((some, one) => some + one.mass, 0);
  let never = 0;
  for (const token of given.forbidden.keys()) never += given.model[token];
  const number = (value) => value.toLocaleString("en");
  return [
    el("h3", {}, "What is left"),
    el("div", { class: "mass", "aria-hidden": "true" }, el("span", { class: "mass-kept", style: `flex-basis:${100 * found.mass}%` }), el("span", { class: "mass-removed", style: `flex-basis:${100 * (1 - found.mass)}%` })),
    el("p", { "data-kept": found.kept, "data-mass": found.mass, "data-removed": removed }, el("strong", {}, `${number(found.kept)} of ${number(size)} tokens are kept`),
      `: together they had ${percent(found.mass)} of the probability${ways.temperature > 0 && ways.temperature !== 1 ? ` at temperature ${ways.temperature}` : ""}; ${percent(removed)} is removed, and what is kept is shared out anew to sum to 1.`),
    taken.length ? el("p", {}, "Removed by ", taken.map((one, at) => [at ? ", " : "", `${one.name}: ${number(one.count)} tokens with ${percent(one.mass)}`]), ".") : null,
    given.forbidden.size ? el("p", { class: "hint" }, `${number(given.forbidden.size)} tokens may not come here whatever the filters (${[...new Set(given.forbidden.values())].join("; ")}); the model gave them ${percent(never)}.`) : null,
  ];
}

function fateWords({ given, found, ways }, token) {
  const reason = given.forbidden.get(token);
  return ["kept", "cut by top-k", "cut by top-p", "cut by min-p", reason, ways.temperature === 0 ? "not the most probable" : ""][found.fates[token]];
}

function bars(stand) {
  const { trace, given, ways } = stand;
  const tokens = Array.from(given.best.subarray(0, ways.bars));
  return [
    el("h3", {}, "The most probable tokens"),
    el("div", { class: "steps" }, choice("Tokens shown", ways.bars, BARS.map((count) => [count, String(count)]), (count) => state.go({ bars: count }, true)),
      el("ul", { class: "legend" },
        el("li", {}, el("span", { class: "bar-sample bar-after" }), " after the filters"),
        el("li", {}, el("span", { class: "bar-sample bar-before" }), " before them, kept"),
        el("li", {}, el("span", { class: "bar-sample bar-before removed" }), " removed"))),
    whyNot(stand),
    el("div", { class: "scroll whole", tabindex: "0", role: "region", "aria-label": "most probable tokens" }, table(stand, tokens, `The ${tokens.length} most probable of ${given.best.length.toLocaleString("en")}; p: the model's own`)),
    trace.writing?.decoding?.repetition_penalty > 1 && stand.spot.step !== null
      ? el("p", { class: "hint" }, `p is after the repetition penalty of ${trace.writing.decoding.repetition_penalty}: what was written already is less probable.`) : null,
  ];
}

/** Why no token can be taken here; null where it can. */
function obstacle({ trace, spot }) {
  if (!spot.writes) return "This model reads and does not write, so no token can be taken in place of another.";
  if (spot.step === null) return "This token was given: change it in the text above.";
  return view.live ? null : `“Take this one instead” needs the model; ${writing.OFFLINE}.`;
}

function whyNot(stand) {
  const reason = obstacle(stand);
  return reason ? el("p", { class: "hint", "data-obstacle": "yes" }, reason) : null;
}

function table(stand, tokens, caption) {
  const heads = ["rank", "token", "p", "", ...(stand.ways.temperature !== 1 && stand.ways.temperature !== 0 ? [`p at temperature ${stand.ways.temperature}`] : []), "filters", "shared out anew", "id", ...(stand.spot.writes ? ["instead"] : [])];
  return el("table", { class: "plain chances" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => (head ? el("th", { scope: "col" }, head) : el("td", { "aria-hidden": "true" }))))),
    el("tbody", {}, tokens.map((token) => line(stand, token))));
}

function line(stand, token) {
  const { trace, spot, given, found, ways, most } = stand;
  const kept = found.fates[token] === chances.KEPT;
  const width = (share) => `width:${most > 0 ? (100 * share) / most : 0}%`;
  return el("tr", { class: kept ? "kept" : "removed", "data-token": token, "data-fate": found.fates[token], "data-before": found.before[token], "data-after": found.after[token], "data-p": given.model[token], "data-rank": given.rank[token] },
    el("td", { class: "digits" }, String(given.rank[token])),
    el("th", { scope: "row", dir: "auto" }, el("span", { class: "name" }, nameOf(trace, token)), token === spot.came ? el("small", {}, spot.forced ? " chosen by you" : spot.step === null || trace.writing.given ? " in the text" : " written") : null),
    el("td", { class: "digits" }, own(stand, token)),
    el("td", { class: "bars", "aria-hidden": "true" }, el("span", { class: "bar-after", style: width(found.after[token]) }), el("span", { class: `bar-before${kept ? "" : " removed"}`, style: width(found.before[token]) })),
    ways.temperature !== 1 && ways.temperature !== 0 ? el("td", { class: "digits" }, shown(found.before[token])) : null,
    el("td", {}, fateWords(stand, token)),
    el("td", { class: "digits" }, kept ? shown(found.after[token]) : "–"),
    el("td", { class: "digits" }, String(token)),
    spot.writes ? el("td", {}, take(stand, token)) : null);
}

/** The model's own probability; where it is a number of the trace, a link to its whole sum. */
function own({ trace, spot, given }, token) {
  const text = shown(given.model[token]);
  const changed = spot.step !== null && trace.writing.decoding.repetition_penalty !== 1;
  return trace.has("probs") && !changed ? el("a", { href: state.link({ number: `probs:${spot.row},${token}` }), title: "the whole sum", "data-key": `p ${token}` }, text) : text;
}

/** The button that forces the output to go on with this token. */
function take(stand, token) {
  const { trace, spot, given } = stand;
  if (token === spot.came && (spot.forced || !stand.trace.writing.given)) return el("small", {}, spot.step === null ? "given" : spot.forced ? "forced" : "is written");
  const reason = given.forbidden.has(token) ? `may not come: ${given.forbidden.get(token)}` : obstacle(stand);
  return button("Take", () => state.go(writing.force(writing.prefixTo(trace, spot.step, token))),
    { "data-key": `take ${token}`, disabled: reason !== null, title: reason, "aria-label": `Take “${nameOf(trace, token)}” instead` });
}

/** The kept tokens side by side in the order of their ids, and where the random number falls. */
function drawing(stand) {
  const { trace, spot, found, ways } = stand;
  const picked = chances.drawn(found.after, ways.u);
  if (ways.temperature === 0) {
    return el("p", { "data-drawn": picked.token }, "At temperature 0 nothing is drawn: the most probable token is taken, ", quoted(trace, picked.token), ".");
  }
  return [
    el("p", { class: "hint" }, "The kept tokens stand side by side in the order of their ids, each as wide as its share. The token in whose interval the random number u lies is drawn."),
    strip(stand, picked),
    el("p", { "data-drawn": picked.token, "data-begin": picked.begin, "data-end": picked.end },
      `u = ${exact(ways.u)} lies between ${exact(picked.begin)} and ${exact(picked.end)}: `, el("strong", {}, quoted(trace, picked.token), " is drawn"), "."),
    spot.recorded === null ? null : el("p", { class: "hint", "data-recorded": spot.recorded },
      `The model's own number here was ${exact(spot.recorded)} (seed ${trace.writing.seed}, output token ${spot.step + 1}), with ${writing.filters(trace.writing.decoding)}; it drew `, quoted(trace, spot.came), "."),
  ];
}

function strip({ trace, found, ways }, picked) {
  const parts = [];
  const kept = Array.from(found.after.keys()).filter((token) => found.after[token] > 0);
  const least = kept.length > INTERVALS ? Array.from(kept, (token) => found.after[token]).sort((one, other) => other - one)[INTERVALS - 1] : 0;
  for (const token of kept) {
    const own = token === picked.token || (found.after[token] >= least && found.after[token] >= 0.0015);
    if (own || !parts.length || parts.at(-1).token !== null) parts.push({ token: own ? token : null, share: found.after[token] });
    else parts.at(-1).share += found.after[token];
  }
  let widest = 0;
  const spans = parts.map(({ token, share }) => {
    if (token === null) widest = Math.max(widest, share);
    const name = token === null ? "" : nameOf(trace, token);
    return el("span", { class: token === picked.token ? "picked" : token === null ? "many" : "", style: `width:${100 * share}%`, title: token === null ? `many tokens of small share: ${percent(share)}` : `${name}: ${percent(share)}` },
      share * 100 > 1.6 + 1.1 * name.length ? el("bdi", {}, name) : "");
  });
  return [
    el("div", { class: "strip", "aria-hidden": "true" }, spans, el("i", { style: `left:${100 * ways.u}%` })),
    widest ? el("p", { class: "hint" }, "Hatched: tokens too narrow to be drawn one by one.") : null,
  ];
}

function drawControls(spot, ways, update) {
  const back = spot.recorded === null ? null : button("Back to the model's own number", () => state.go({ next_u: null }, true), { "data-key": "button own u" });
  return el("div", { class: "draw-control" },
    dial("Random number u", "next_u", ways, "u", { values: spread(1000, 0, 0.999), words: (value) => shown(value), least: 0, most: 1 - 2 ** -53, step: "any" }, update), back);
}

function finder(ways, update) {
  const field = el("input", { type: "search", id: "find", value: ways.find, autocomplete: "off", dir: "auto", "data-key": "find" });
  field.addEventListener("input", () => {
    ways.find = field.value;
    state.keep({ find: field.value || null });
    update();
  });
  return el("p", { class: "steps" }, el("label", { for: "find", class: "field" }, "A token, part of one, or its id ", field));
}

/** Tokens that are named so, then those that hold it, the most probable first. */
function matches(stand) {
  const { trace, given, ways } = stand;
  if (!ways.find) return el("p", { class: "hint" }, "Any token of the vocabulary, with its rank and probability.");
  const wanted = ways.find.toLowerCase();
  const place = (token) => {
    const [name, seen] = [trace.vocabulary[token] ?? "", nameOf(trace, token)];
    const bare = name.replace(/^[▁Ġ ]+|<\/w>$/g, "");
    if ([name, seen, String(token)].includes(ways.find)) return 0;
    if (bare === ways.find) return 1;
    if (bare.toLowerCase() === wanted) return 2;
    return name.toLowerCase().includes(wanted) || seen.toLowerCase().includes(wanted) ? 3 : 4;
  };
  const found = [[], [], [], []];
  for (const token of given.best) found[place(token)]?.push(token);
  const all = found.flat();
  if (!all.length) return el("p", { "data-found": 0 }, "No token of the vocabulary has this in it.");
  return [
    el("p", { "data-found": all.length }, `${all.length.toLocaleString("en")} found${all.length > FOUND ? `; shown: ${FOUND}` : ""}.`),
    el("div", { class: "scroll whole", tabindex: "0", role: "region", "aria-label": "tokens found" }, table(stand, all.slice(0, FOUND), "Found: the exact token first, then the most probable")),
  ];
}
