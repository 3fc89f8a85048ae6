// The page: which trace, which view; drawn anew whenever the address changes.

const ASKED = ["text", "output", "beams", "temperature", "top_k", "top_p", "min_p", "seed", "prefix", "tokens", "edits"];
let drawing = 0; // the number of the newest drawing: an older one that is still waiting for numbers gives up
let answered = null; // the question that view.trace answers

/** What the address asks of the model. */
function question() {
  const all = state.all();
  return Object.fromEntries(ASKED.filter((key) => key in all).map((key) => [key, all[key]]));
}

async function draw() {
  const mine = ++drawing;
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  try {
    await bringTrace();
    if (mine !== drawing) return;
    const place = document.createElement("div");
    if (view.trace === null) place.append(el("h2", {}, "Give a text"), el("p", {}, "and see how the model reads it and what it answers."));
    else {
      const known = Object.keys(VIEWS).filter((name) => VIEWS[name].available?.(view.trace) ?? true);
      const name = known.includes(state.all().view) ? state.all().view : known[0];
      place.append(el("h2", {}, VIEWS[name].title), el("p", { class: "hint" }, VIEWS[name].sentence));
      await VIEWS[name].show(view.trace, place);
      const panel = document.createElement("div");
      await showNumber(view.trace, panel);
      if (mine !== drawing) return;
      heading(known, name);
      document.getElementById("number").replaceChildren(...panel.childNodes);
    }
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key; // now: it may have moved while numbers came
    const scrolled = new Map([...main.querySelectorAll("[data-keep]")].map((one) => [one.dataset.keep, [one.scrollLeft, one.scrollTop]]));
    main.replaceChildren(...place.childNodes);
    main.querySelectorAll("[data-keep]").forEach((one) => one.scrollTo(...(scrolled.get(one.dataset.keep) ?? [Number(one.dataset.left ?? 0), 0])));
    if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  } catch (error) {
    if (mine !== drawing) return;
    main.replaceChildren(el("p", { class: "warning", role: "alert" }, error.message));
    if (state.all().edits) main.append(el("p", {}, el("a", { href: state.link({ edits: null }) }, "Undo all edits"))); // one of them may be why
  }
  main.removeAttribute("aria-busy");
}

async function bringTrace() {
  if (!view.live) return;
  const asking = JSON.stringify(question());
  if (asking === answered) return;
  if (!question().text) {
    view.trace = null;
    answered = asking;
    return;
  }
  view.trace = await served(question());
  answered = asking;
}

function heading(known, current) {
  const trace = view.trace;
  document.title = `${VIEWS[current].title}: ${trace.text}`;
  document.getElementById("views").replaceChildren(el("ul", {}, known.map((name) => el("li", {},
    el("a", { href: state.link({ view: name, number: null }), "aria-current": name === current ? "page" : null }, VIEWS[name].title)))));
  const rows = [["it reads", trace.names.source ?? trace.names.target], ["it writes", trace.names.written]].filter(([, names]) => names?.length);
  document.getElementById("tokens").replaceChildren(
    ...rows.map(([words, names]) => el("p", {}, `${words}: `, names.map((name) => [el("span", { class: "token", dir: "auto" }, visible(name)), " "]))),
    trace.output === null ? "" : el("p", {}, "output: ", el("strong", { dir: "auto" }, trace.output)),
    trace.edits.length ? el("p", { class: "warning" }, el("a", { href: state.link({ view: "change", number: null }) }, trace.edits.length > 1 ? `${trace.edits.length} edits` : "edit"),
      `: ${trace.edits[0]}${trace.edits.length > 1 ? ", …" : ""}`) : "");
}

/** The field for a text, where there is a model to ask. */
function askField() {
  const field = el("input", { type: "text", id: "text", value: state.all().text ?? "", autocomplete: "off", dir: "auto" });
  const send = (event) => {
    event.preventDefault();
    state.go({ ...Object.fromEntries(ASKED.map((key) => [key, null])), text: field.value, number: null, tap: null });
  };
  return el("form", { onsubmit: send }, el("label", { for: "text" }, "Text "), field, " ", el("button", { type: "submit" }, "Look"));
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const current = state.all().view ?? Object.keys(VIEWS)[0];
  VIEWS[current]?.keys?.[event.key]?.();
});

window.addEventListener("hashchange", draw);

(function begin() {
  view.live = document.documentElement.dataset.live === "yes";
  if (view.live) {
    document.getElementById("ask").append(askField());
    const first = document.documentElement.dataset.text;
    if (first && !state.all().text) state.go({ text: first }, true);
  } else view.trace = embedded();
  window.pellucid = { view, expand, chances };
  draw();
})();
