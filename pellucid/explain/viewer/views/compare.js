// Compare: another text, another model or a checkpoint beside the trace: attention, outputs, next tokens.

const SHOWN = 12; // outputs of a distribution
const POSITIONS = 64; // positions of a difference in the table

VIEWS.compare = {
  title: "Compare",
  sentence: "Two texts, two models or two checkpoints, side by side.",

  async show(trace, place) {
    const found = await others();
    place.append(...chooseSecond(found));
    if (!view.live) return;
    const which = secondOf(found);
    const of = which === "text" ? "model" : which;
    const text = which === "text" ? state.all().text2 : question().text;
    if (!text) {
      place.append(el("p", {}, "Give a second text to compare with."));
      return;
    }
    const second = await once("/api/other", { ...question(), of, text }, ofServer);
    const [a, b] = which === "text" ? [trace.text, second.text] : ["the model", whichName(which, found)];
    if (trace.edits.length) place.append(el("p", { class: "hint" }, "The edits hold for the first alone."));
    place.append(
      table("What each of them says", ["", which === "text" ? "reads" : "which", "output"], [["first", `${a}`, trace.output ?? "(nothing)"], ["second", `${b}`, second.output ?? "(nothing)"]], { "data-outputs": "" }),
      await maps(trace, second),
      await distributions(trace, second),
      which === "text" && second.text !== trace.text ? el("p", { class: "hint" }, "The texts differ, so that positions cannot be compared one by one.") : await differences(trace, second));
  },
};

function secondOf(found) {
  const kept = state.all().second;
  const known = ["text", ...(found.second ? ["second"] : []), ...found.checkpoints.map(String)];
  return known.includes(kept) ? kept : found.second ? "second" : "text";
}

function whichName(which, found) {
  return which === "second" ? found.second : `the checkpoint of step ${which}`;
}

/** What is to stand beside the trace, and what cannot, with the reason. */
function chooseSecond(found) {
  const chosen = secondOf(found);
  const options = [["text", "another text"], ...(found.second ? [["second", `the model ${found.second}`]] : []), ...found.checkpoints.map((step) => [step, `the checkpoint of step ${step}`])];
  const control = choice("Second", chosen, options, (one) => state.go({ second: one }));
  if (!view.live) control.querySelector("select").disabled = true;
  const reasons = [
    found.checkpoints.length ? null : `No checkpoints: ${found.reason}.`,
    found.second || !view.live ? null : "A second model can be given: pellucid look MODEL --with OTHER.",
  ];
  return [el("div", { class: "steps" }, control), chosen === "text" ? form("Set beside", [["Second text", "text2", "a text, or the path of a picture"]], {}, !view.live) : null,
    ...reasons.map((reason) => (reason ? el("p", { class: "hint" }, reason) : null))].filter(Boolean);
}

/** The maps of both, and where they are of one shape, second less first. */
async function maps(first, second) {
  if (!homesOf(first).length) return el("p", {}, "There is no attention in this trace.");
  const { home, layer, head, controls } = chosenHead(first);
  const [one, other] = [await headMap(first, home, head), await headMap(second, home, head)];
  const section = el("section", {}, el("h3", {}, "Attention"), el("div", { class: "steps" }, controls));
  if (other === null) {
    section.append(el("p", { class: "warning" }, `The second model has no ${KINDS[kindOf(home)]} with a layer ${layer} and such a head.`), namedMap("first", one, undefined, "first"));
    return section;
  }
  const most = Math.max(largest(one.numbers.data), largest(other.numbers.data));
  const parts = [namedMap("first", one, most, "first"), namedMap("second", other, most, "second")];
  const same = String(one.numbers.shape) === String(other.numbers.shape);
  if (same) {
    const change = new Numbers(other.numbers.data.map((value, at) => value - one.numbers.data[at]), one.numbers.shape);
    const both = (names, more) => names.map((name, at) => (name === more[at] ? name : `${name}|${more[at]}`));
    const map = { numbers: change, rows: both(one.rows, other.rows), columns: both(one.columns, other.columns) };
    parts.push(namedMap("second less first: white is no change, blue more, orange less", map, undefined, "difference"));
  }
  filled(section, {}, [el("p", { class: "hint" }, "Rows: the query, which asks. Columns: the key, which is asked. Both maps have one scale of colour."),
    same ? null : el("p", { class: "hint" }, `No difference map: ${one.numbers.shape.join(" × ")} and ${other.numbers.shape.join(" × ")} tokens.`), el("div", { class: "beside" }, parts)]);
  return section;
}

/** The largest probabilities of either at one position, by name. */
async function distributions(first, second) {
  const [one, other] = [await first.array("probs"), await second.array("probs")];
  const many = one.shape.length === 2;
  const labels = many ? namesOf(first, first.taps.get("probs"), -2) : [""];
  const begin = first.names.written ? Math.max(0, labels.length - first.names.written.length) : first.ids.asked?.[0] ?? 0;
  const at = many ? state.number("position", labels.length, begin) : 0;
  const section = el("section", {}, el("h3", {}, first.names.written ? "Next token" : "Probabilities"));
  if (many) {
    const words = labels.map((name, row) => [row, `${row} ${first.names.written ? "after" : "at"} ${visible(name)}`]);
    section.append(el("div", { class: "steps" }, choice("Position", at, words.slice(0, MOST), (row) => state.go({ position: row }))));
  }
  if (many !== (other.shape.length === 2) || (many && at >= other.shape[0])) {
    section.append(el("p", { class: "warning" }, "The second has no such position."));
    return section;
  }
  const [before, after] = [byName(first, one.matrix().row(at)), byName(second, other.matrix().row(at))];
  const size = (name) => Math.max(before.get(name) ?? 0, after.get(name) ?? 0);
  const names = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => size(b) - size(a)).slice(0, SHOWN);
  const rows = names.map((name) => [visible(name), before.get(name) ?? "none", after.get(name) ?? "none",
    before.has(name) && after.has(name) ? after.get(name) - before.get(name) : ""]);
  section.append(table(`The largest of ${one.shape.at(-1).toLocaleString("en")}`, ["output", "first#", "second#", "second less first#"], rows, { "data-next": "" }));
  return section;
}

function byName(trace, shares) {
  return new Map(Array.from(shares, (share, at) => [trace.vocabulary[at] ?? String(at), share]));
}

/** What changed at each position, as Python has it: pellucid.explain.difference. */
async function differences(first, second) {
  const section = el("section", {}, el("h3", {}, "What changed"));
  let found;
  try {
    found = await once("/api/difference", { first: first.id, second: second.id });
  } catch (error) {
    section.append(el("p", { class: "hint" }, `Positions cannot be compared one by one: ${error.message}`));
    return section;
  }
  const rows = found.positions.slice(0, POSITIONS).map((one, at) => [readAs(one.name), String(at), one.kl ?? Infinity,
    one.changes.map((change, number) => [number ? ", " : "", el("bdi", {}, visible(change.name)), ` ${shown(change.before)} → ${shown(change.after)}`])]);
  section.append(
    el("p", { class: "formula" }, formula("KL = Σ p' log(p' / p)"), ": how far the second distribution, p′, is from the first, p, in nats"),
    table("At each position that both had read alike", ["position", "number", "KL#", "what changed most"], rows, { "data-difference": "" }),
    el("p", {}, found.changed ? "The outputs differ." : "The output is the same."));
  if (found.positions.length > POSITIONS) section.append(el("p", { class: "hint" }, `The first ${POSITIONS} of ${found.positions.length} positions.`));
  return section;
}
