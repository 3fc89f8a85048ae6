// The state of the page is its address: what is after the "#". Whoever gets the link sees the same.
// Inside a notebook the page is a frame that has no address of its own; there the state is held here.

const framed = location.protocol === "about:";
let held = "";

const state = {
  /** What stands after the "#", with it. */
  address() {
    return framed ? held : location.hash;
  },

  /** All that is set, as an object of strings. */
  all() {
    return Object.fromEntries(new URLSearchParams(state.address().slice(1)));
  },

  /** The address with some values set; null takes one away. */
  link(changes) {
    const next = new URLSearchParams(state.address().slice(1));
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined) next.delete(key);
      else next.set(key, value);
    }
    return `#${next}`;
  },

  /** Set values as a step that "back" undoes; `quiet`: in place of the present one, for sliders. */
  go(changes, quiet = false) {
    state.follow(state.link(changes), quiet);
  },

  /** To another address of this page. */
  follow(link, quiet = false) {
    if (link === state.address()) return;
    if (!framed && !quiet) {
      location.hash = link;
      return;
    }
    if (framed) held = link;
    else history.replaceState(null, "", link);
    window.dispatchEvent(new Event("hashchange"));
  },

  /**
   * Set values of a control that is being moved or typed into. Its view follows by itself, since drawing anew would take the
   * control from the hand; the links that are on the page take the values along.
   */
  keep(changes) {
    if (framed) held = state.link(changes);
    else history.replaceState(null, "", state.link(changes));
    for (const link of document.querySelectorAll('a[href^="#"][href*="="]')) {
      const there = new URLSearchParams(link.getAttribute("href").slice(1));
      for (const [key, value] of Object.entries(changes)) {
        if (value === null) there.delete(key);
        else there.set(key, value);
      }
      link.setAttribute("href", `#${there}`);
    }
  },

  /** A whole number of the state, held within 0 and size - 1. */
  number(key, size, fallback = 0) {
    const value = Number.parseInt(state.all()[key] ?? fallback, 10);
    return Math.max(0, Math.min(Number.isFinite(value) ? value : fallback, size - 1));
  },
};

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  if (link.classList.contains("skip")) document.getElementById("main").focus();
  else if (framed) state.follow(link.getAttribute("href")); // by itself the frame would open the notebook in itself
  else return;
  event.preventDefault();
});
