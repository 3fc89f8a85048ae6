// Change it: heads taken out, weights set, vectors patched, tokens banned; and what becomes of the output. The edits stand in the address.

const MODES = { on: null, zero: "ZeroHead", mean: "MeanHead" };
const PLACES = /(embed\.out|layers\.\d+\.(out|self_attn\.(z|out)|cross_attn\.(z|out)|ffn\.(hidden|out)))$/; // what can be patched here
const MANY = 64; // positions in a table, keys with a slider
const draft = { text: "", of: 0 }; // what stands in the fields of a patch, until it is one

VIEWS.change = {
  title: "Change it",
  sentence: "Take a part away or set it by hand, and see what becomes of the output.",

  async show(trace, place) {
    const parts = [editList(trace)];
    if (!view.live) parts.push(el("p", { class: "warning" }, "Changing something needs the model, and this is a file: open the model with “pellucid look”. Below stands what could be changed there."));
    else if (edits().length) parts.push(await effect(trace));
    parts.push(el("fieldset", { class: "edits", disabled: !view.live }, el("legend", {}, view.live ? "Change something" : "Change something (switched off: there is no model behind this page)"),
      await headGrid(trace), await weightRow(trace), patchForm(trace), await banForm(trace)));
    filled(place, {}, parts);
  },
};

/** The edits of the address, as objects. */
function edits() {
  try {
    const found = JSON.parse(state.all().edits ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return []; // the server says what is wrong with them
  }
}

function change(list) {
  state.go({ edits: list.length ? JSON.stringify(list) : null, number: null });
}

function editList(trace) {
  if (!trace.edits.length) return el("p", {}, "Nothing is changed.");
  const undo = (number) => button("Undo", () => change(edits().filter((_, at) => at !== number)), { "data-key": `undo ${number}`, "aria-label": `Undo edit ${number + 1}` });
  return el("section", {}, el("h3", {}, "What is changed"),
    el("ol", { class: "edit-list" }, trace.edits.map((words, number) => el("li", {}, words, banned(trace, number), " ", view.live ? undo(number) : null))),
    view.live ? button("Undo all", () => change([])) : null);
}

/** What a banned token is called, which its words do not say. */
function banned(trace, number) {
  const edit = edits()[number];
  return view.live && edit?.kind === "Ban" ? [" (“", el("bdi", {}, tokenOf(trace, edit.token)), "”)"] : null;
}

// What the edits do

/** Old and new side by side, as Python compares them. */
async function effect(trace) {
  const found = await (await asked("/api/change", question())).json();
  return el("section", { class: "effect" }, el("h3", {}, "What becomes of it"), outputs(found), distributions(trace, found), code(found));
}

function outputs(found) {
  if (found.before === null && found.after === null) return null;
  const side = (words, output, key) => el("div", { class: "side" }, el("h4", {}, words), el("p", { dir: "auto", "data-output": key }, output ?? "nothing"));
  return [el("div", { class: "beside" }, side("Output before", found.before, "before"), side("Output after", found.after, "after")),
    el("p", {}, found.changed ? "The output is another one." : "The output is the same.")];
}

function best(position, side) {
  return position.both.reduce((most, one) => (Number(one[side]) > Number(most[side]) ? one : most));
}

function tokenOf(trace, id) {
  return visible(trace.vocabulary[id] ?? String(id));
}

function distributions(trace, found) {
  const positions = found.positions.slice(0, MANY);
  if (!positions.length) return el("p", {}, "There is no position at which both had read the same.");
  const furthest = positions.reduce((most, one, at) => (Number(one.kl) > Number(positions[most].kl) ? at : most), 0);
  const chosen = state.number("changed", positions.length, furthest);
  const share = (one, side) => [el("bdi", {}, tokenOf(trace, one[0])), ` ${shown(Number(one[side]))}`];
  const row = (position, at) => el("tr", { "data-position": at },
    el("th", { scope: "row" }, button(position.name ? visible(position.name) : "the whole", () => state.go({ changed: at }), { "data-key": `changed ${at}`, dir: "auto", "aria-pressed": String(at === chosen), "aria-label": position.name ? `Position ${at}, ${visible(position.name)}` : "the whole" })),
    el("td", { class: "digits", "data-what": "kl", "data-value": position.kl }, shown(Number(position.kl))),
    el("td", {}, share(best(position, 1), 1)), el("td", {}, share(best(position, 2), 2)),
    el("td", {}, position.changes.slice(0, 1).map(([name, before, after]) => [el("bdi", {}, visible(name)), ` ${shown(Number(before))} → ${shown(Number(after))}`])));
  const heads = ["position", "KL", "most probable before", "and after", "largest change"].map((words) => el("th", { scope: "col" }, words));
  const hints = [];
  if (found.positions.length < found.read) hints.push(`Compared are the ${found.positions.length} positions up to which both had read the same; then the outputs part.`);
  if (found.positions.length > MANY) hints.push(`The first ${MANY} of ${found.positions.length} positions.`);
  return [el("h4", {}, "Probabilities, before and after"),
    el("p", { class: "hint" }, "KL: the Kullback-Leibler divergence of the new distribution from the old one, in nats: the sum of new log(new / old). Choose a position for both distributions.", hints.map((hint) => ` ${hint}`)),
    scrolling(el("table", { class: "plain left" }, el("caption", { class: "unseen" }, "each position before and after"), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, positions.map(row)))),
    both(trace, positions[chosen], chosen)];
}

/** The largest outputs of one position on both sides. */
function both(trace, position, at) {
  const ban = (id) => (edits().some((edit) => edit.kind === "Ban" && edit.token === id) ? "banned"
    : button("Ban", () => change([...edits(), { kind: "Ban", token: id }]), { "data-key": `ban ${id}`, "aria-label": `Ban ${tokenOf(trace, id)}` }));
  const cell = (value, what) => el("td", { class: "sized", "data-what": what, "data-value": value }, el("span", { class: "digits" }, shown(Number(value))), barOf(Number(value)));
  const rows = position.both.map(([id, before, after]) => el("tr", { "data-id": id }, el("th", { scope: "row", dir: "auto" }, tokenOf(trace, id)),
    cell(before, "before"), cell(after, "after"), el("td", { class: "digits" }, shown(Number(after) - Number(before))), el("td", {}, ban(id))));
  const heads = ["output", "before", "after", "new less old", ""].map((words) => el(words ? "th" : "td", words ? { scope: "col" } : {}, words));
  return el("div", { class: "both" }, el("h4", {}, position.name ? ["At “", el("bdi", {}, visible(position.name)), `” (position ${at})`] : "The classes"),
    scrolling(el("table", { class: "plain wide" }, el("caption", { class: "unseen" }, "the largest outputs before and after"), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))));
}

function code(found) {
  const copy = () => navigator.clipboard.writeText(found.code).then(() => announce("copied"), () => announce("the browser does not let this page copy: select the text"));
  return [el("h4", {}, "The same in Python"), el("pre", { class: "code", tabindex: 0, "aria-label": "Python code" }, el("code", {}, found.code)), button("Copy", copy)];
}

// Heads

function homes(trace) {
  return trace.list.map((tap) => tap.name).filter((name) => /_attn\.z$/.test(name)).map((name) => name.replace(/\.z$/, ""));
}

/** A recurrent network attends in its last layer alone. */
function nameOf(home) {
  return `layer ${home.match(/\.layers\.(\d+)\./)[1]}`;
}

/** The attention that is chosen: its kind, its homes, a layer; the address shares these with the view of attention. */
function chosenAttention(trace) {
  const all = homes(trace);
  const kinds = Object.keys(KINDS).filter((kind) => all.some((home) => kindOf(home) === kind));
  if (!kinds.length) return null;
  const kind = kinds.includes(state.all().kind) ? state.all().kind : kinds[0];
  const mine = all.filter((home) => kindOf(home) === kind);
  return { kinds, kind, mine, layer: state.number("layer", mine.length, mine.length - 1) };
}

function modeOf(home, head) {
  const kind = edits().find((edit) => ["ZeroHead", "MeanHead"].includes(edit.kind) && edit.attention === home && edit.head === head)?.kind ?? null;
  return Object.keys(MODES).find((mode) => MODES[mode] === kind);
}

/** The edits with some heads of an attention set to a mode. */
function withHeads(home, heads, mode) {
  const rest = edits().filter((edit) => !(["ZeroHead", "MeanHead"].includes(edit.kind) && edit.attention === home && heads.includes(edit.head)));
  return [...rest, ...(MODES[mode] ? heads.map((head) => ({ kind: MODES[mode], attention: home, head })) : [])];
}

function switches(home, heads, words, current) {
  return el("div", { class: "switch", role: "group", "aria-label": words }, Object.keys(MODES).map((mode) => button(mode, () => change(withHeads(home, heads, mode)),
    { "data-key": `${home} ${heads} ${mode}`, "aria-pressed": current === null ? null : String(current === mode), "aria-label": `${mode}: ${words}` })));
}

async function headGrid(trace) {
  const found = chosenAttention(trace);
  if (!found) return el("p", {}, "This trace holds no heads: their z were not kept.");
  const sizes = found.mine.map((home) => trace.taps.get(`${home}.z`).shape[0]);
  const rows = found.mine.map((home, layer) => {
    const heads = Array.from({ length: sizes[layer] }, (_, head) => head);
    const modes = heads.map((head) => modeOf(home, head));
    const together = modes.every((mode) => mode === modes[0]) ? modes[0] : "";
    return el("tr", {}, el("th", { scope: "row" }, nameOf(home)),
      heads.map((head) => el("td", { "data-home": home, "data-head": head, "data-mode": modes[head], class: modes[head] }, switches(home, [head], `${nameOf(home)}, head ${head}`, modes[head]))),
      Array.from({ length: Math.max(...sizes) - sizes[layer] }, () => el("td")),
      el("td", {}, switches(home, heads, `${nameOf(home)}, all heads`, together)));
  });
  const heads = [el("td"), Array.from({ length: Math.max(...sizes) }, (_, head) => el("th", { scope: "col" }, `head ${head}`)), el("th", { scope: "col" }, "all heads")];
  return el("section", {}, el("h3", {}, "Heads"),
    el("p", { class: "hint" }, "zero: the head hands over nothing; mean: the same everywhere, its mean over the positions (in a decoder, over those so far). Both act on z, before W^O mixes the heads."),
    choice("Which", found.kind, found.kinds.map((one) => [one, KINDS[one]]), (one) => state.go({ kind: one, layer: null, query: null, head: null })),
    scrolling(el("table", { class: "plain left heads" }, el("caption", { class: "unseen" }, `the heads of ${KINDS[found.kind]}`), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))));
}

// A row of weights

async function weightRow(trace) {
  const found = chosenAttention(trace);
  const home = found?.mine[found.layer];
  const tap = trace.taps.get(`${home}.weights`);
  if (!tap) return null;
  const [head, query] = [state.number("head", tap.shape[0]), state.number("query", tap.shape[1])];
  const mine = (edit) => edit.kind === "SetWeights" && edit.attention === home && edit.head === head && edit.query === query;
  const set = edits().find(mine)?.shares;
  const numbers = (await trace.array(tap.name)).matrix(head).row(query);
  const visible_ = found.kind === "decoder" ? query + 1 : numbers.length; // a position of a decoder sees no later one
  const shares = Array.from(numbers.slice(0, visible_), (value, key) => (set ? Number(set[key] ?? 0) : value));
  const send = () => {
    const kept = Object.fromEntries(shares.map((share, key) => [key, Number(share.toPrecision(7))]).filter(([, share]) => share > 0));
    if (!Object.keys(kept).length) announceIn("weights", "Some share must be above 0.");
    else change([...edits().filter((edit) => !mine(edit)), { kind: "SetWeights", attention: home, head, query, shares: kept }]);
  };
  const labels = (axis) => Array.from({ length: tap.shape.at(axis) }, (_, at) => visible(trace.labels(tap, axis)?.[at] ?? String(at)));
  return el("section", {}, el("h3", {}, "A row of attention weights"),
    el("p", { class: "hint" }, `Whom one query of ${KINDS[found.kind]} looks at. Shares are divided by their sum, so that the row sums to 1 as before.`,
      found.kind === "decoder" ? " Keys after the query are not there: a decoder sees no later position." : ""),
    el("div", { class: "steps" },
      choice("Layer", found.layer, found.mine.map((one, at) => [at, nameOf(one)]), (at) => state.go({ layer: at })),
      choice("Head", head, Array.from({ length: tap.shape[0] }, (_, at) => [at, `head ${at}`]), (at) => state.go({ head: at })),
      choice("Query", query, labels(-2).map((name, at) => [at, `${at}: ${name}`]), (at) => state.go({ query: at }))),
    sliders(shares, labels(-1)),
    el("div", { class: "steps" }, button("Set these weights", send), said("weights")));
}

function sliders(shares, keys) {
  const cells = shares.map(() => el("td", { class: "digits", "data-what": "share" }));
  const tell = () => {
    const total = shares.reduce((some, share) => some + share, 0);
    cells.forEach((cell, key) => { cell.textContent = total > 0 ? shown(shares[key] / total) : "none"; });
  };
  tell();
  const most = Math.max(1, ...shares);
  const rows = shares.slice(0, MANY).map((share, key) => el("tr", {}, el("td", {},
    slider(`${key}: ${keys[key]}`, share, { min: 0, max: most, step: 0.001, text: shown }, (now) => { shares[key] = now; tell(); })), cells[key]));
  return scrolling(el("table", { class: "plain left sliders" }, el("caption", { class: "unseen" }, "a share for each key"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "key"), el("th", { scope: "col" }, "share"))), el("tbody", {}, rows)),
    shares.length > MANY ? el("p", { class: "hint" }, `Sliders of the first ${MANY} of ${shares.length} keys; the others keep their shares.`) : null);
}

// A patch

function patchForm(trace) {
  const taps = trace.list.filter((tap) => PLACES.test(tap.name));
  if (!taps.length) return null;
  const tap = taps.find((one) => one.name === state.all().patch) ?? taps[0];
  const heads = tap.shape.length === 3 ? tap.shape[0] : 0;
  const labels = Array.from({ length: tap.shape.at(-2) }, (_, at) => visible(trace.labels(tap, -2)?.[at] ?? String(at)));
  const [position, head] = [state.number("here", labels.length), state.all().patched_head];
  const text = el("input", { type: "text", id: "patch-text", value: draft.text, dir: "auto", autocomplete: "off", "data-key": "patch text", oninput: (event) => { draft.text = event.target.value; } });
  const of = el("input", { type: "number", id: "patch-of", min: 0, value: draft.of, "data-key": "patch of", oninput: (event) => { draft.of = event.target.value; } });
  const send = (event) => {
    event.preventDefault();
    if (!text.value.trim()) return announceIn("patch", "Give the other text.");
    const edit = { kind: "Patch", name: tap.name, position, text: text.value, of: Number(of.value) };
    if (heads && head !== undefined) edit.head = state.number("patched_head", heads);
    return change([...edits(), edit]);
  };
  return el("form", { onsubmit: send }, el("h3", {}, "A vector from another text"),
    el("p", { class: "hint" }, "The other text runs through the model, too, with an output of its own; one of its vectors is put in the place of one of these."),
    el("div", { class: "steps" },
      el("label", { class: "field", for: "patch-text" }, el("span", {}, "Other text"), text),
      choice("Vector", tap.name, taps.map((one) => [one.name, one.name]), (name) => state.go({ patch: name, here: null, patched_head: null })),
      choice("Put at position", position, labels.map((name, at) => [at, `${at}: ${name}`]), (at) => state.go({ here: at })),
      el("label", { class: "field", for: "patch-of" }, el("span", {}, "its position, from 0"), of),
      heads ? choice("Of", head ?? "all", [["all", "all heads"], ...Array.from({ length: heads }, (_, at) => [at, `head ${at}`])], (at) => state.go({ patched_head: at === "all" ? null : at })) : null,
      el("button", { type: "submit", "data-key": "patch" }, "Patch"), said("patch")));
}

// A ban

async function banForm(trace) {
  if (!trace.has("probs") || !trace.vocabulary.length) return null;
  const field = el("input", { type: "text", id: "ban", list: "ban-names", dir: "auto", autocomplete: "off", "data-key": "ban" });
  const likely = await likelyOf(trace);
  const send = (event) => {
    event.preventDefault();
    const token = tokenNamed(trace, field.value);
    if (token < 0) return announceIn("ban", `No output is called “${field.value}”. Write it as it is shown, or its number as #7.`);
    return change([...edits().filter((edit) => !(edit.kind === "Ban" && edit.token === token)), { kind: "Ban", token }]);
  };
  return el("form", { onsubmit: send }, el("h3", {}, "An output that may not come"),
    el("p", { class: "hint" }, "Its logit becomes −∞ at every position, and the others share out its probability."),
    el("div", { class: "steps" },
      el("label", { class: "field", for: "ban" }, el("span", {}, "Output"), field),
      el("datalist", { id: "ban-names" }, likely.map((id) => el("option", { value: tokenOf(trace, id) }))),
      el("button", { type: "submit", "data-key": "ban it" }, "Ban it"), said("ban")));
}

/** The outputs that are most probable somewhere, to choose from. */
async function likelyOf(trace) {
  const rows = (await trace.array("probs")).matrix();
  const found = new Set();
  for (let row = 0; row < Math.min(rows.shape[0], MANY); row++) {
    const values = rows.row(row);
    let most = 0;
    values.forEach((value, at) => { if (value > values[most]) most = at; });
    found.add(most);
  }
  return [...found];
}

function tokenNamed(trace, name) {
  const number = name.match(/^#(\d+)$/);
  if (number) return Number(number[1]) < trace.vocabulary.length ? Number(number[1]) : -1;
  const exact_ = trace.vocabulary.indexOf(name);
  return exact_ >= 0 ? exact_ : trace.vocabulary.findIndex((one) => visible(one) === name.trim());
}

/** A place beside a control where it says what is wrong. */
function said(name) {
  return el("span", { role: "status", class: "said", "data-said": name });
}

function announceIn(name, text) {
  document.querySelector(`[data-said="${name}"]`).textContent = text;
}
