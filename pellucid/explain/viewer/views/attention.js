// Attention: maps from scores to weights, lines from token to token, all heads side by side, and what each of them looks like.

const STAGES = ["scores", "scaled", "bias", "mask", "masked", "weights"];
const LINES = 64; // tokens on either side of the lines
const LOOKS = 0.5; // mean share from which a head is said to look like something

VIEWS.attention = {
  title: "Attention",
  sentence: "Who looks at whom: every layer and head.",
  available: (trace) => homesOf(trace).length > 0,

  async show(trace, place) {
    const { home, homes: mine, kind, layer, head, controls } = chosenHead(trace);
    const all = await Promise.all(mine.map((one) => trace.array(`${one}.weights`)));
    const stages = STAGES.filter((stage) => trace.has(`${home}.${stage}`));
    const stage = ["mean", "max"].includes(head) ? "weights" : stages.includes(state.all().stage) ? state.all().stage : "weights";
    const tap = trace.taps.get(`${home}.weights`);
    const [queries, keys] = [namesOf(trace, tap, -2), namesOf(trace, tap, -1)];
    const weights = overHeads(all[layer], head);
    const query = state.all().query === undefined ? null : state.number("query", queries.length);
    place.append(
      el("div", { class: "steps" },
        controls,
        choice("Step", stage, stages.map((one) => [one, one]), (one) => state.go({ stage: one, number: null }))),
      el("p", { class: "sentence" }, sentenceOf(weights, queries, keys, query)),
      el("div", { class: "beside" },
        await mapOf(trace, home, stage, head, weights, queries, keys),
        lines(weights, queries, keys, query)),
      portrait(weights, queries, keys, kind),
      grid(all, mine, kind, layer, head, queries, keys));
  },
};

async function mapOf(trace, home, stage, head, weights, queries, keys) {
  const together = ["mean", "max"].includes(head);
  const numbers = together ? weights : (await trace.array(`${home}.${stage}`)).matrix(head);
  const tap = trace.taps.get(`${home}.${stage}`);
  const options = { rows: queries, columns: keys, axes: ["query", "key"], about: `${home}.${stage}, head ${head}` };
  if (!together) Object.assign(options, { tap: tap.name, head });
  return el("section", { class: "grow" },
    el("p", { class: "formula" }, together ? `${head} over the heads` : [equation(tap), `: ${tap.sentence}`]),
    el("p", { class: "hint" }, "Rows: the query, which asks. Columns: the key, which is asked."),
    matrix(numbers, together ? { ...options, pick: () => {} } : options));
}

function sentenceOf(weights, queries, keys, query) {
  const row = query ?? 0;
  const shares = weights.row(row);
  let best = 0;
  shares.forEach((share, at) => { if (share > shares[best]) best = at; });
  return [el("bdi", {}, `“${visible(queries[row])}”`), ` (position ${row}) looks most at `, el("bdi", {}, `“${visible(keys[best])}”`), ` (position ${best}): ${percent(shares[best])}`];
}

/** Two columns of tokens; a query that is pointed at, or chosen, shows its lines alone. */
function lines(weights, queries, keys, query) {
  const step = 26;
  const [rows, columns] = [Math.min(queries.length, LINES), Math.min(keys.length, LINES)];
  const height = Math.max(rows, columns) * step;
  const picture = drawn("svg", { viewBox: `0 0 120 ${height}`, width: 120, height, "aria-hidden": "true", class: "lines" });
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = weights.at(row, column);
      if (!(share > 0.01)) continue;
      picture.append(drawn("line", { x1: 0, y1: (row + 0.5) * step, x2: 120, y2: (column + 0.5) * step, "data-query": row, "data-key-token": column,
        "stroke-opacity": share.toFixed(3), "stroke-width": 2.5 }));
    }
  }
  const focus = (row) => picture.querySelectorAll("line").forEach((line) => {
    line.classList.toggle("off", row !== null && Number(line.dataset.query) !== row);
  });
  focus(query);
  const left = el("ol", { class: "tokens", "aria-label": "queries" }, queries.slice(0, rows).map((name, row) => el("li", {},
    el("button", { type: "button", dir: "auto", "data-key": `query ${row}`, "aria-pressed": query === row ? "true" : "false",
      onmouseenter: () => focus(row), onmouseleave: () => focus(query), onfocus: () => focus(row), onblur: () => focus(query),
      onclick: () => state.go({ query: query === row ? null : row }) }, visible(name)))));
  const right = el("ol", { class: "tokens", "aria-label": "keys" }, keys.slice(0, columns).map((name) => el("li", {}, el("span", { dir: "auto" }, visible(name)))));
  const cut = queries.length > LINES || keys.length > LINES ? el("p", { class: "hint" }, `Lines of the first ${LINES} tokens.`) : null;
  return el("section", {}, el("p", { class: "hint" }, "Point at a query for its lines alone; press to keep them."), el("div", { class: "web" }, left, picture, right), cut);
}

/** Means over the queries of what tells heads apart. Distances and neighbours only where queries and keys are one sequence. */
function measures(weights, keys, same) {
  const [rows, columns] = weights.shape;
  const found = { entropy: 0, distance: 0, "previous token": 0, "same token": 0, "next token": 0, "first token": 0, separator: 0 };
  const separators = keys.map((name) => /^[^\p{L}\p{N}]+$/u.test(name) || /^<.*>$/.test(name));
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = weights.at(row, column);
      if (!(share > 0)) continue;
      found.entropy -= (share * Math.log(share)) / rows;
      found.distance += (share * Math.abs(row - column)) / rows;
      if (column === row - 1) found["previous token"] += share / Math.max(rows - 1, 1);
      if (column === row) found["same token"] += share / rows;
      if (column === row + 1) found["next token"] += share / Math.max(rows - 1, 1);
      if (column === 0) found["first token"] += share / rows;
      if (separators[column]) found.separator += share / rows;
    }
  }
  if (!same) for (const name of ["distance", "previous token", "same token", "next token"]) delete found[name];
  return found;
}

/** What a head looks like: the largest of its shares, where it is at least half. */
function looksLike(found) {
  const [name, share] = Object.entries(found).filter(([key]) => !["entropy", "distance"].includes(key)).reduce((best, one) => (one[1] > best[1] ? one : best), ["", 0]);
  return share >= LOOKS ? `looks like: ${name} (${percent(share)})` : `looks like none of these (${name} ${percent(share)})`;
}

function portrait(weights, queries, keys, kind) {
  const found = measures(weights, keys, kind !== "cross");
  const units = { entropy: ` nats, of at most ${shown(Math.log(keys.length))}`, distance: " positions" };
  const items = Object.entries(found).map(([name, value]) => [el("dt", {}, name), el("dd", { "data-measure": name, "data-value": value }, units[name] ? shown(value) + units[name] : percent(value))]);
  return el("section", {}, el("h3", {}, "What this head looks like"), el("p", {}, `${looksLike(found)}. Shares are means over the queries.`), el("dl", { class: "measures" }, items));
}

function grid(all, homes, kind, layer, head, queries, keys) {
  const rows = homes.map((home, at) => el("tr", {}, el("th", { scope: "row" }, `layer ${layerOf(home)}`),
    Array.from({ length: all[at].shape[0] }, (_, one) => {
      const weights = all[at].matrix(one);
      const about = `layer ${layerOf(homes[at])}, head ${one}: ${looksLike(measures(weights, keys, kind !== "cross"))}`;
      const here = at === layer && String(one) === String(head);
      return el("td", {}, el("a", { href: state.link({ layer: at, head: one, number: null }), "aria-label": about, title: about, "aria-current": here ? "true" : null }, heat(weights, 1, "thumb")));
    })));
  const most = Math.max(...all.map((one) => one.shape[0]));
  const heads = el("tr", {}, el("td"), Array.from({ length: most }, (_, one) => el("th", { scope: "col" }, `head ${one}`)));
  return el("section", {}, el("h3", {}, `All layers and heads: ${KINDS[kind]}`), scrolling(el("table", { class: "thumbs" }, el("thead", {}, heads), el("tbody", {}, rows))));
}
