// The search for the output as a tree: what was considered at every step, what went on, what ended and what was dropped.
// A column is a step, in it the best candidate stands on top. The tree is walked with the arrow keys; the table below says the same.

const WIDEST = 12; // candidates drawn of a step
const DEEPEST = 64; // steps drawn
const [ACROSS, DOWN, BOX, TALL] = [178, 74, 150, 64]; // from step to step, from rank to rank, width and height of a box
const TOP = 26; // of the first row, below the numbers of the steps
const NUMBERS_OF_BEAMS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];

VIEWS.beam = {
  title: "Beam",
  sentence: "The search for the output: what was considered at every step, what went on, and what was dropped.",
  available: (trace) => trace.steps.length > 0,

  async show(trace, place) {
    const nodes = treeOf(trace);
    const chosen = nodes.find((node) => node.key === state.all().node) ?? null;
    const dropped = state.all().dropped !== "no";
    filled(place, {}, [
      writing.note(trace),
      el("div", { class: "steps" }, beamsControl(trace),
        choice("Show", dropped ? "all" : "lived", [["all", "all candidates"], ["lived", "what went on or ended"]], (value) => state.go({ dropped: value === "lived" ? "no" : null }))),
      el("p", {}, writing.way(trace), " ", scoring(trace)),
      result(trace, nodes),
      el("p", { class: "hint" }, "Choose a token for its numbers; choose it once more to see the attention of its text. Arrow keys walk the tree: left to what it goes on from, right to what goes on from it, up and down within the step."),
      picture(trace, nodes, chosen, dropped),
      legend(nodes),
      chosen ? details(trace, chosen) : null,
      stepTable(trace, nodes),
    ]);
  },
};

/**
 * All candidates as nodes: { key, step, rank, name, token, log, total, n, score, fate, parent, children, path, lives }.
 * `fate`: as in the trace, or "later": it went on, and all that came of it was dropped. `path`: it belongs to the output.
 */
function treeOf(trace) {
  const nodes = [];
  let beams = [null]; // the node of each beam before the step
  for (const step of trace.steps) {
    const mine = step.candidates.map((one, at) => ({
      key: `${step.number}.${at}`, step: step.number, rank: at + 1, of: step.candidates.length, name: one.name, token: one.token,
      log: one.log_probability, total: one.score, n: step.number + 1, score: one.score / writing.penalty(trace, step.number + 1),
      fate: one.fate, parent: beams[one.beam] ?? null, beam: one.beam, children: [], path: false,
    }));
    for (const node of mine) node.parent?.children.push(node);
    nodes.push(...mine);
    beams = mine.filter((node) => node.fate === "chosen"); // in the order of the beams: best first
  }
  const best = bestOf(nodes, trace);
  for (let node = best; node; node = node.parent) node.path = true;
  const leads = (node) => node.fate === "ended" || node.path || node.children.some(leads);
  for (const node of nodes) if (node.fate === "chosen" && !leads(node)) node.fate = "later";
  return nodes;
}

/** The leaf that became the output: of those that ended the one with the best score, of equals the first. */
function bestOf(nodes, trace) {
  const last = trace.steps.at(-1).number;
  const leaves = nodes.filter((node) => node.fate === "ended" || (node.fate === "chosen" && node.step === last));
  return leaves.reduce((best, node) => (best === null || node.score > best.score ? node : best), null);
}

function beamsControl(trace) {
  const { beams, temperature } = trace.writing.decoding;
  const options = [...new Set([...NUMBERS_OF_BEAMS, beams])].sort((one, other) => one - other);
  const drawing = temperature > 0 ? [["drawn", "1: drawn"]] : [];
  const field = choice("Beams", drawing.length ? "drawn" : beams, [...drawing, ...options.map((count) => [count, count === 1 ? "1: greedy" : String(count)])], (count) => state.go({
    beams: count, temperature: Number(count) > 1 || temperature === 0 ? null : 0, top_k: null, top_p: null, min_p: null, seed: null, output: null, node: null, number: null,
  }));
  field.querySelector("select").disabled = !view.live;
  return view.live ? field : [field, el("small", {}, `Not here: ${writing.OFFLINE}.`)];
}

/** The formula of the score, as it is configured. */
function scoring(trace) {
  const { text, words } = writing.penaltyFormula(trace);
  const formula_ = text.replace("score = sum of log p", "score = Σ log p");
  const n = trace.writing.ids.length;
  return el("span", { "data-formula": text }, formula_, ` (${words}). n counts the tokens, the end with them; for n = ${n} the sum is divided by ${shown(writing.penalty(trace, n))}. Logarithms are natural.`);
}

function result(trace, nodes) {
  const best = bestOf(nodes, trace);
  const ended = nodes.filter((node) => node.fate === "ended").length;
  const how = trace.writing.reason === "length" ? "it was cut at the limit" : "it ended by itself";
  return el("p", { class: "sentence", "data-best": best.key, "data-score": best.score },
    `${trace.steps.length} steps, ${nodes.length} candidates, ${ended} ended. The output: `, el("bdi", {}, textOf(best)), `: Σ log p ${shown(best.total)}, score ${shown(best.score)}; ${how}.`);
}

function lineage(node) {
  const found = [];
  for (let one = node; one; one = one.parent) found.unshift(one);
  return found;
}

function textOf(node) {
  return lineage(node).map((one) => visible(one.name)).join(" ");
}

const WORD = { chosen: "goes on", kept: "might have been drawn", ended: "ended", dropped: "dropped", later: "dropped later" };

function wordOf(node) {
  return node.path && node.fate !== "ended" ? "output" : node.fate === "ended" ? (node.path ? "ended: output" : "ended") : WORD[node.fate];
}

/** Why a candidate went no further. */
function reasonOf(trace, node) {
  const { beams, temperature } = trace.writing.decoding;
  const drawing = temperature > 0;
  const end = node.token === trace.writing.end;
  const last = node.step === trace.steps.at(-1).number;
  if (node.path) return node.fate !== "ended" ? "The output goes through it." : end ? "It closed the output." : "The output was cut here, at the limit.";
  if (node.fate === "ended") return "It closed a text; another one scored higher in the end.";
  if (node.fate === "chosen") return "It was still searched when the search stopped.";
  if (node.fate === "later") return "It went on, but at a later step all that came of it was dropped.";
  if (node.fate === "kept") return "The filters left it: with another random number it would have been drawn.";
  if (drawing) return "The filters removed it before the draw.";
  if (beams === 1) return "Another token was more probable.";
  if (end && node.rank > beams) return `It would end here, but only among the first ${beams} candidates may a text end.`;
  if (end) return "It ended with a score no better than that of the best one that had ended.";
  return last ? "The search stopped here: nothing that still lived could beat the best ended score, or the limit was reached."
    : `${beams} others go on: they had larger sums of log p, and as many as there are beams may.`;
}

/** The candidates of a step that are drawn: those of the output and the ended first, then what went on, then the dropped, by rank. */
function drawnOf(mine, dropped) {
  const worth = (node) => (node.path ? 0 : node.fate === "ended" ? 1 : node.fate === "chosen" ? 2 : node.fate === "later" ? 3 : 4);
  const wanted = dropped ? mine : mine.filter((node) => worth(node) < 4);
  return [...wanted].sort((one, other) => worth(one) - worth(other) || one.rank - other.rank).slice(0, WIDEST).sort((one, other) => one.rank - other.rank);
}

function picture(trace, nodes, chosen, dropped) {
  const steps = trace.steps.slice(0, DEEPEST);
  const columns = steps.map((step) => drawnOf(nodes.filter((node) => node.step === step.number), dropped));
  const count = (column) => nodes.filter((node) => node.step === column).length;
  const begin = { x: 0, y: TOP };
  const at = new Map();
  columns.forEach((mine, column) => mine.forEach((node, row) => at.set(node, { x: 84 + column * ACROSS, y: TOP + row * DOWN })));
  const width = 84 + columns.length * ACROSS;
  const height = TOP + Math.max(...columns.map((mine, column) => mine.length * DOWN + (count(column) > mine.length ? 26 : 0)));
  const focusable = chosen && at.has(chosen) ? chosen : columns[0][0];
  const svg = drawn("svg", { class: "search-tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "tree", "aria-label": "the search, step by step" });
  svg.append(patterns());
  steps.forEach((step, column) => svg.append(drawn("text", { x: 84 + column * ACROSS, y: 14, class: "step-name", "aria-hidden": "true" }, `step ${step.number + 1}`)));
  svg.append(root(begin));
  for (const [node, spot] of at) svg.append(edge(node.parent ? at.get(node.parent) : begin, spot, node));
  const depthFirst = (node) => [...(at.has(node) ? [node] : []), ...node.children.flatMap(depthFirst)];
  const order = nodes.filter((node) => node.parent === null).flatMap(depthFirst);
  for (const node of order) svg.append(box(trace, node, at.get(node), { chosen: node === chosen, tab: node === focusable, at }));
  columns.forEach((mine, column) => {
    const more = count(column) - mine.length;
    if (more > 0) svg.append(drawn("text", { x: 84 + column * ACROSS, y: TOP + mine.length * DOWN + 16, class: "more", "aria-hidden": "true", "data-more": more }, `and ${more} more`));
  });
  const cut = trace.steps.length > DEEPEST ? el("p", { class: "hint" }, `Drawn: the first ${DEEPEST} of ${trace.steps.length} steps.`) : null;
  const folded = columns.some((mine, column) => count(column) > mine.length)
    ? el("p", { class: "hint" }, dropped ? `Drawn: at most ${WIDEST} candidates of a step; “and n more” stands for the others, which are in the table below.` : "“And n more” stands for those that were dropped at once; they are in the table below.") : null;
  svg.addEventListener("keydown", (event) => walk(event, nodes, at, columns));
  const left = chosen ? Math.max(0, (chosen.step - 1) * ACROSS) : 0;
  return [el("div", { class: "scroll whole", "data-keep": "tree", "data-left": left }, svg), cut, folded];
}

/** The hatching of what was dropped. */
function patterns() {
  return drawn("defs", {}, drawn("pattern", { id: "hatched", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    drawn("rect", { width: 7, height: 7, class: "hatch-ground" }), drawn("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" })));
}

function root({ y }) {
  return drawn("g", { class: "root", "aria-hidden": "true", transform: `translate(0 ${y})` },
    drawn("rect", { x: 1, y: 1, width: 46, height: TALL - 2, rx: 8 }), drawn("text", { x: 24, y: TALL / 2 + 4, "text-anchor": "middle" }, "begin"));
}

function edge(from, to, node) {
  if (!from) return "";
  const [x1, y1, x2, y2] = [from.x + (node.parent ? BOX : 48), from.y + TALL / 2, to.x, to.y + TALL / 2];
  const middle = (x1 + x2) / 2;
  return drawn("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: `edge ${node.path ? "path" : node.fate}`, "aria-hidden": "true" });
}

function cutTo(text, most) {
  const letters = Array.from(text);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

function box(trace, node, { x, y }, { chosen, tab, at }) {
  const siblings = node.parent ? node.parent.children.filter((one) => at.has(one)) : [...at.keys()].filter((one) => one.parent === null);
  const name = `${visible(node.name)}, ${wordOf(node)}. Step ${node.step + 1}, rank ${node.rank} of ${node.of}: log p ${shown(node.log)}, sum ${shown(node.total)}, score ${shown(node.score)}`;
  return drawn("g", {
    role: "treeitem", class: `box ${node.fate}${node.path ? " path" : ""}`, transform: `translate(${x} ${y})`, tabindex: tab ? 0 : -1, "data-key": `node ${node.key}`,
    "data-node": node.key, "data-token": node.token, "data-score": node.score, "data-total": node.total, "data-log": node.log, "data-fate": node.fate, "data-parent": node.parent?.key ?? "",
    "aria-label": name, "aria-level": node.step + 1, "aria-posinset": siblings.indexOf(node) + 1, "aria-setsize": siblings.length, "aria-selected": chosen ? "true" : "false",
    "aria-expanded": node.children.some((one) => at.has(one)) ? "true" : null,
    onclick: () => pick(trace, node, chosen),
  },
  drawn("title", {}, `${textOf(node)}\n${wordOf(node)}\nlog p ${exact(node.log)}\nsum ${exact(node.total)}\nscore ${exact(node.score)}`),
  drawn("rect", { width: BOX, height: TALL, rx: node.fate === "ended" ? 16 : 5 }),
  node.fate === "ended" ? drawn("rect", { class: "ring", x: 3.5, y: 3.5, width: BOX - 7, height: TALL - 7, rx: 13 }) : "",
  drawn("text", { x: 10, y: 17, class: "token-name" }, cutTo(visible(node.name), 17)),
  drawn("text", { x: 10, y: 31, class: "log" }, `log p ${shown(node.log)}`),
  drawn("text", { x: 10, y: 44, class: "sums" }, `Σ ${shown(node.total)}`),
  drawn("text", { x: 10, y: 57, class: "score" }, `score ${shown(node.score)}`),
  drawn("text", { x: BOX - 8, y: 44, "text-anchor": "end", class: "fate" }, { chosen: "", kept: "possible", ended: "ended", dropped: "dropped", later: "dropped later" }[node.fate]));
}

/** Chosen: its numbers are shown; chosen again: its attention, where that can be. */
function pick(trace, node, already) {
  if (!already) state.go({ node: node.key });
  else {
    const way = toAttention(trace, node);
    if (way.changes) state.go(way.changes);
    else announce(way.reason);
  }
}

function walk(event, nodes, at, columns) {
  const node = nodes.find((one) => one.key === event.target.dataset?.node);
  if (!node) return;
  const column = columns[node.step];
  const place = column.indexOf(node);
  const children = node.children.filter((one) => at.has(one));
  const found = {
    ArrowUp: column[place - 1], ArrowDown: column[place + 1], ArrowLeft: node.parent,
    ArrowRight: children.find((one) => one.path) ?? children[0], Home: columns[0][0], End: columns.at(-1)[0],
  };
  if (event.key === "Enter" || event.key === " ") event.target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  else if (!(event.key in found)) return;
  event.preventDefault();
  event.stopPropagation();
  if (!found[event.key] || !at.has(found[event.key])) return;
  const svg = event.currentTarget;
  svg.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
  const next = svg.querySelector(`[data-node="${found[event.key].key}"]`);
  next.setAttribute("tabindex", "0");
  next.focus();
}

function legend(nodes) {
  const kinds = [["output", "chosen path"], ["chosen", "chosen"], ["ended", "ended"], ["kept", "kept"], ["later", "later"], ["dropped", "dropped"]];
  const words = { output: "output", chosen: "goes on", ended: "ended", kept: "might have been drawn", later: "dropped later", dropped: "dropped" };
  const there = new Set(nodes.map((node) => (node.path && node.fate !== "ended" ? "output" : node.fate)));
  const sample = (kind, text) => el("li", {}, drawn("svg", { class: "search-tree", width: 30, height: 18, "aria-hidden": "true" }, drawn("g", { class: `box ${kind}` }, drawn("rect", { x: 1.5, y: 1.5, width: 27, height: 15, rx: kind.startsWith("ended") ? 8 : 4 }),
    kind.startsWith("ended") ? drawn("rect", { class: "ring", x: 4, y: 4, width: 22, height: 10, rx: 5 }) : "")), ` ${text}`);
  return el("ul", { class: "legend" }, kinds.filter(([kind]) => there.has(kind)).map(([kind, style]) => sample(style, words[kind])));
}

/** Whether a text is how the output begins, so that its rows are in this trace. */
function isWritten(trace, node) {
  return lineage(node).every((one, step) => trace.writing.ids[step] === one.token);
}

/** How to get to the attention of a text: changes of the address, or the reason why not. */
function toAttention(trace, node) {
  if (!VIEWS.attention.available(trace)) return { reason: "This trace was made without the weights of attention." };
  const rows = trace.writing.prompt - 1 + trace.writing.ids.length;
  const reads = node.fate === "ended" || node.token === trace.writing.end ? node.step : node.step + 1; // nothing reads the end
  const query = Math.min(trace.writing.prompt - 1 + reads, isWritten(trace, node) ? rows - 1 : Infinity);
  const there = { view: "attention", query, number: null };
  if (isWritten(trace, node)) return { changes: there, query };
  if (!view.live) return { reason: `This text is no beginning of the output, so its attention is not in this file: open the model with pellucid look.` };
  return { changes: { ...writing.force(lineage(node).map((one) => one.token)), ...there }, query };
}

/** The distribution that a candidate stood in: its row is in this trace where what stands before it is written. */
function toNext(trace, node) {
  const there = { view: "next", position: trace.writing.prompt - 1 + node.step, number: null, next_u: null };
  if (node.parent === null || isWritten(trace, node.parent)) return { changes: there };
  if (!view.live) return { reason: "What stands before it is no beginning of the output, so its distribution is not in this file: open the model with pellucid look." };
  return { changes: { ...writing.force(lineage(node).map((one) => one.token)), ...there } };
}

function details(trace, node) {
  const penalty = writing.penalty(trace, node.n);
  const sum = lineage(node).map((one) => `${one.step && one.log < 0 ? "− " : ""}${shown(one.step ? Math.abs(one.log) : one.log)}`).join(" ");
  const forces = view.live && !isWritten(trace, node);
  return el("section", { class: "node-details", "data-details": node.key }, el("h3", {}, el("bdi", {}, textOf(node))),
    el("p", {}, el("strong", {}, wordOf(node)), `: ${reasonOf(trace, node)}`),
    el("dl", { class: "measures" },
      el("dt", {}, "step, rank"), el("dd", {}, `${node.step + 1}, ${node.rank} of ${node.of}`),
      el("dt", {}, "log p of the token"), el("dd", {}, `${exact(node.log)} (p ${percent(Math.exp(node.log))})`),
      el("dt", {}, "Σ log p"), el("dd", {}, lineage(node).length > 1 && lineage(node).length <= 12 ? `${sum} = ${exact(node.total)}` : exact(node.total)),
      el("dt", {}, "score"), el("dd", {}, `${shown(node.total)} / ${shown(penalty)} = ${exact(node.score)}${node.fate === "ended" ? "" : ", if it ended here"}`)),
    el("p", { class: "steps" }, jump("Attention of this text", toAttention(trace, node)), jump("What might stand in its place", toNext(trace, node)), button("Close", () => state.go({ node: null }), { "data-key": "button close node" })),
    forces ? el("p", { class: "hint" }, "The output has other tokens here: following this forces the output to begin with this text. The way back is shown there.") : null);
}

function jump(words, { changes, reason }) {
  if (changes) return el("a", { href: state.link(changes), "data-key": words, class: "jump" }, words);
  return el("span", { class: "steps" }, button(words, () => {}, { disabled: true }), el("small", {}, reason));
}

/** All of it as a table, for whoever reads rather than looks. */
function stepTable(trace, nodes) {
  const heads = ["rank", "goes on from", "token", "log p", "Σ log p", "score", "fate"];
  const bodies = trace.steps.slice(0, DEEPEST).map((step) => el("tbody", { "data-step": step.number },
    el("tr", {}, el("th", { scope: "rowgroup", colspan: heads.length }, `Step ${step.number + 1}`, step.draw === null || step.draw === undefined ? "" : el("small", {}, ` random number ${exact(step.draw)}`))),
    nodes.filter((node) => node.step === step.number).map((node) => el("tr", { class: `${node.fate}${node.path ? " path" : ""}`, "data-row": node.key },
      el("td", { class: "digits" }, String(node.rank)),
      el("td", { dir: "auto" }, node.parent ? cutTo(textOf(node.parent), 40) : "begin"),
      el("th", { scope: "row", dir: "auto" }, el("a", { href: state.link({ node: node.key }), "data-key": `row ${node.key}`, class: "name" }, visible(node.name))),
      el("td", { class: "digits" }, shown(node.log)), el("td", { class: "digits" }, shown(node.total)), el("td", { class: "digits" }, shown(node.score)),
      el("td", {}, wordOf(node))))));
  const cut = trace.steps.length > DEEPEST ? `, the first ${DEEPEST} of ${trace.steps.length} steps` : "";
  return el("section", {}, el("h3", {}, `Step by step${cut}`),
    trace.writing.decoding.beams === 1 ? el("p", { class: "hint" }, "With one beam there is nothing to choose from but the next token: the most probable ones are listed.") : null,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "step by step" }, el("table", { class: "plain search-steps" },
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), bodies)));
}
