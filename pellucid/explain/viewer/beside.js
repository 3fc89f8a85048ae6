// What is set beside the trace: answers of the server that are kept, since the page is drawn often.

const KEPT = 200; // answers
const answers = new Map();

/** The answer to a question, asked once. `make`: what becomes of it. */
function once(path, question, make = (answer) => answer) {
  const key = JSON.stringify([path, question]);
  if (!answers.has(key)) {
    const promise = asked(path, question).then((answer) => answer.json()).then(make);
    promise.catch(() => answers.delete(key)); // what failed may be asked again
    answers.set(key, promise);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  }
  return answers.get(key);
}

/** What there is beside the model: { checkpoints: steps, moments: those with the state of Adam, steps: of the whole run, reason: why there are none, second: a name or null }. */
function others() {
  return view.live ? once("/api/others", {}) : Promise.resolve({ checkpoints: [], moments: [], steps: 0, reason: OFFLINE, second: null });
}

const OFFLINE = "this page is a file without its model: open the run itself with “pellucid look RUN”";

/** A form of some fields: [label, state key, placeholder]. It sets them all at once. */
function form(text, fields, more = {}, disabled = false) {
  const inputs = fields.map(([label, key, hint]) => [label, key, el("input", { type: "text", value: state.all()[key] ?? "", placeholder: hint, dir: "auto", autocomplete: "off",
    "data-key": `field ${key}`, disabled })]);
  const send = (event) => {
    event.preventDefault();
    state.go({ ...Object.fromEntries(inputs.map(([, key, input]) => [key, input.value === "" ? null : input.value])), ...more });
  };
  return el("form", { class: "steps", onsubmit: send }, inputs.map(([label, , input]) => el("label", { class: "field" }, el("span", {}, label), input)),
    el("button", { type: "submit", disabled, "data-key": `submit ${text}` }, text));
}
