// Training: one text through the checkpoints that a run has kept, and the step that it would take next, opened.

const CHECKPOINTS = 40; // that are asked, at most
const TOKENS = 64; // in a table
const NUMBERS = 64; // of a row of a matrix

VIEWS.training = {
  title: "Training",
  sentence: "What the model said of this text earlier in its training, and the training step, opened.",

  async show(trace, place) {
    const found = await others();
    filled(place, {}, [el("h3", {}, "One text through the checkpoints"), trace.edits.length ? el("p", { class: "hint" }, "Without the edits.") : null, ...(found.checkpoints.length ? await through(found.checkpoints) : [el("p", { class: "warning" }, `This needs the checkpoints of a run: ${found.reason}.`)]),
      el("h3", {}, "The training step, opened"), ...(await stepPart(found))]);
  },
};

/** The slider, what the chosen checkpoint says, and all of them in a table and as a line. */
async function through(all) {
  const steps = [...evenly(all, CHECKPOINTS).map(String), "model"];
  const at = Math.max(0, steps.includes(state.all().step) ? steps.indexOf(state.all().step) : steps.length - 1);
  const reference = state.all().reference;
  const asking = (step) => ({ ...question(), step, ...(reference ? { reference } : {}) });
  const chosen = await once("/api/checkpoint", { ...asking(steps[at]), trace: "yes" }, (answer) => ({ ...answer, trace: ofServer(answer.trace) }));
  const name = (number) => (steps[number] === "model" ? "the model itself" : `step ${steps[number]}`);
  return [
    el("div", { class: "steps" }, slider("Checkpoint", at, { min: 0, max: steps.length - 1, step: 1, text: name, late: true }, (number) => state.go({ step: steps[number] }, true))),
    steps.length - 1 < all.length ? el("p", { class: "hint" }, `${CHECKPOINTS} of the ${all.length} checkpoints, evenly chosen.`) : null,
    form("Use as reference", [["Reference", "reference", "what should be said; else the model's own output"]]),
    el("p", {}, `${name(at)} says: `, el("strong", { dir: "auto", "data-said": "" }, chosen.output ?? "(nothing)")),
    el("p", { class: "formula" }, formula("loss = - log(p)"), `: of each token, in nats, without smoothing; their mean is ${shown(chosen.loss)}`),
    table(`What is wanted, and how probable: ${name(at)}`, ["read", "wanted", "probability#", "loss#"],
      chosen.wanted.slice(0, TOKENS).map((wanted, number) => [readAs(chosen.fed[number]), visible(wanted), chosen.probabilities[number], chosen.losses[number]]), { "data-wanted": "" }),
    cutOf(chosen.wanted.length, TOKENS, "tokens"),
    await attentionOf(chosen.trace),
    ...history(steps, at, asking, chosen.wanted),
  ];
}

/** At most so many of a list, first and last among them. */
function evenly(all, most) {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, at) => all[Math.round((at * (all.length - 1)) / (most - 1))]);
}

function cutOf(count, most, what) {
  return count > most ? el("p", { class: "hint" }, `The first ${most} of ${count} ${what}.`) : null;
}

async function attentionOf(trace) {
  if (!homesOf(trace).length) return null;
  const { home, head, controls } = chosenHead(trace);
  const map = await headMap(trace, home, head);
  return el("section", {}, el("h4", {}, "Attention at this checkpoint"), el("div", { class: "steps" }, controls),
    el("p", { class: "hint" }, "Rows: the query, which asks. Columns: the key, which is asked. Over what is wanted, fed in: so maps of all checkpoints are of the same tokens."),
    namedMap(home, map, 1, "checkpoint"));
}

/** A row for each checkpoint, filled in as the answers come, and the line of the losses. */
function history(steps, current, asking, wanted) {
  const heads = ["checkpoint", "says", "loss", ...wanted.slice(0, TOKENS).map(visible)];
  const body = el("tbody", {}, steps.map((step, at) => el("tr", { "data-step": step, "aria-current": at === current ? "true" : null }, el("th", { scope: "row" }, step === "model" ? "the model itself" : step),
    el("td", { colspan: heads.length - 1 }, "…"))));
  const plot = el("figure", { class: "wide" });
  fillHistory(steps, asking, body, plot, current);
  return [
    el("h4", {}, "All checkpoints"),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "all checkpoints" }, el("table", { class: "plain", "data-history": "" }, el("caption", {}, "Loss, and the probability of each token that is wanted"),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col", dir: "auto" }, head)))), body)),
    cutOf(wanted.length, TOKENS, "tokens"), plot,
  ];
}

async function fillHistory(steps, asking, body, plot, current) {
  const losses = [];
  for (const [at, step] of steps.entries()) {
    const row = body.children[at];
    try {
      const found = await once("/api/checkpoint", asking(step));
      losses.push([step, found.loss]);
      row.replaceChildren(row.firstChild, el("td", { dir: "auto" }, found.output ?? ""), el("td", { class: "digits", "data-value": found.loss }, shown(found.loss)),
        ...found.probabilities.slice(0, TOKENS).map((share) => el("td", { class: "digits", "data-value": share }, shown(share))));
    } catch (error) {
      row.lastChild.textContent = error.message;
    }
  }
  plot.replaceChildren(...lossLine(losses.filter(([step]) => step !== "model").map(([step, loss]) => [Number(step), loss]), Number(steps[current])));
}

/** Loss against steps. */
function lossLine(points, current) {
  if (points.length < 2) return [];
  const [width, height, left, bottom] = [328, 170, 56, 34];
  const most = Math.max(...points.map(([, loss]) => loss), 1e-9);
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = (step) => left + ((step - first) / (last - first)) * (width - left - 30);
  const y = (loss) => height - bottom - (loss / most) * (height - bottom - 16);
  const told = `Mean loss of what is wanted, by step: from ${shown(points[0][1])} at step ${first} to ${shown(points.at(-1)[1])} at step ${last}`;
  const label = (place, text, anchor = "middle") => drawn("text", { ...place, "text-anchor": anchor }, text);
  return [el("figcaption", { class: "hint" }, told), drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "losses", role: "img", "aria-label": told },
    drawn("path", { class: "axis", d: `M${left} 10 V${height - bottom} H${width - 20}`, fill: "none" }),
    drawn("polyline", { points: points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") }),
    points.map(([step, loss]) => drawn("circle", { cx: x(step).toFixed(1), cy: y(loss).toFixed(1), r: step === current ? 6 : 4, class: step === current ? "here" : null, "data-value": loss },
      drawn("title", {}, `step ${step}: ${shown(loss)}`))),
    label({ x: left - 6, y: y(most) + 4 }, shown(most), "end"), label({ x: left - 6, y: height - bottom + 4 }, "0", "end"),
    label({ x: x(first), y: height - 14 }, String(first)), label({ x: x(last), y: height - 14 }, String(last)), label({ x: (left + width) / 2, y: height - 14 }, "step"))];
}

/** The controls, and the step when it is open. */
async function stepPart(found) {
  const told = el("p", { class: "hint" }, "One step on one example, with dropout off: on a text and what is to be said of it, or with both fields empty on the first training example. The model stays as it is: a copy is trained.");
  const fields = form("Open the step", [["Text", "step_text", "empty: an example of training"], ["Output", "step_output", "what is to be said of it"]], { opened: "yes" }, !view.live);
  if (!view.live) return [told, fields, el("p", { class: "hint" }, `This needs the model: ${OFFLINE}.`)];
  const kept = [["", "as step 1, Adam beginning anew"], ...found.moments.map((step) => [step, `after step ${step}`])];
  const after = String(state.all().after ?? (found.moments.findLast((step) => step < found.steps) ?? kept.at(-1)[0]));
  const controls = [told, el("div", { class: "steps" }, kept.length > 1 ? choice("Taken", after, kept, (step) => state.go({ after: step })) : null), fields];
  if (state.all().opened !== "yes") return controls;
  try {
    const asking = Object.fromEntries([["text", state.all().step_text], ["output", state.all().step_output]].filter(([, value]) => value));
    return [...controls, ...stepShown(await once("/api/training-step", { ...asking, after }))];
  } catch (error) {
    return [...controls, el("p", { class: "warning", role: "alert" }, error.message)];
  }
}

function stepShown(step) {
  const { smoothing } = step;
  return [
    el("p", {}, `Training step ${step.number}, ${step.warm ? "Adam with its means from the last checkpoint" : "Adam with its means beginning at zero"}; on: `, el("bdi", {}, step.text)),
    el("h4", {}, "1. What is to be said"),
    el("p", { class: "formula" }, formula("y = 1 - ε + ε / V"), ` = ${shown(smoothing.wanted)} for what is wanted, `, formula("ε / V"), ` = ${shown(smoothing.other)} for each of the other ${(smoothing.outputs - 1).toLocaleString("en")}; ε = ${smoothing.share}, V = ${smoothing.outputs.toLocaleString("en")}`),
    el("p", { class: "formula" }, formula("loss = - Σ y log(p)")),
    table("What the model reads at each position, and what it is to say there: for a text that is written the same tokens, one place on", ["read", "wanted", "probability#", "loss#"],
      step.wanted.slice(0, TOKENS).map((wanted, at) => [readAs(step.fed[at]), visible(wanted), step.probabilities[at], step.losses[at]]), { "data-step-tokens": "" }),
    cutOf(step.wanted.length, TOKENS, "tokens"),
    el("p", {}, `The mean loss: ${shown(step.loss)} nats.`),
    el("h4", {}, "2. The gradient"),
    el("p", { class: "formula" }, formula("g = ∂ loss / ∂ x"), ": of the mean loss, at every tap; its size is the root of the mean of its squares"),
    folded(`${step.taps.length} taps`, table("Sizes of the gradient, in the order of the forward", ["tap", "size#", "largest#"], step.taps.map((tap) => [tap.name, known(tap.size), known(tap.largest)]), { "data-taps": "" })),
    el("p", {}, `The norm of the whole gradient is ${shown(known(step.norm))}`, step.clip && step.norm > step.clip ? `, above ${step.clip}, so it is scaled down to that.` : step.clip ? `, within ${step.clip}: nothing is scaled down.` : "; nothing is scaled down."),
    el("h4", {}, "3. Adam's update"),
    ...adam(step),
    folded(`${step.weights.length} parameters`, table("The norm of each parameter's gradient and of its update", ["parameter", "gradient#", "update#"], step.weights.map((one) => [one.name, known(one.gradient), known(one.update)]), { "data-weights": "" })),
  ];
}

function known(value) {
  return value ?? NaN;
}

function folded(summary, content) {
  return el("details", { "data-key": `details ${summary}` }, el("summary", { "data-key": `summary ${summary}` }, summary), content);
}

/** The row that was updated, a line for each of its numbers, so that each can be computed again from left to right. */
function adam(step) {
  const { updated, optimizer } = step;
  const [one, two] = [1 - optimizer.beta1 ** updated.steps, 1 - optimizer.beta2 ** updated.steps];
  const rows = updated.before.slice(0, NUMBERS).map((before, at) => [String(at), before, updated.gradient[at], updated.mean[at], updated.square[at], updated.mean[at] / one, updated.square[at] / two, updated.update[at], updated.after[at]]);
  return [
    el("p", { class: "formula" }, formula("m = β_1 m + (1 - β_1) g"), ", ", formula("v = β_2 v + (1 - β_2) g^2")),
    el("p", { class: "formula" }, formula("m' = m / (1 - β_1^t)"), ", ", formula("v' = v / (1 - β_2^t)"), ", ", formula("update = - η m' / (sqrt(v') + ε)")),
    el("p", {}, `β₁ = ${optimizer.beta1}, β₂ = ${optimizer.beta2}, ε = ${optimizer.epsilon}, learning rate η = ${shown(step.rate)}, t = ${updated.steps} steps that the means have seen`),
    step.rate === 0 ? el("p", { class: "warning" }, "The schedule has come to its end: the learning rate is 0, so that nothing changes. Take the step after an earlier checkpoint.") : null,
    table(`Row ${updated.row} (${visible(updated.name)}) of ${updated.matrix}, before and after`, ["number", "before#", "g#", "m#", "v#", "m′#", "v′#", "update#", "after#"], rows, { "data-adam": "" }),
    cutOf(updated.before.length, NUMBERS, "numbers"),
  ];
}
