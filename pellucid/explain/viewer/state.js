// The state of the page is its address: what is after the "#". Whoever gets the link sees the same.

const state = {
  /** All that is set, as an object of strings. */
  all() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  },

  /** The address with some values set; null takes one away. */
  link(changes) {
    const next = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined) next.delete(key);
      else next.set(key, value);
    }
    return `#${next}`;
  },

  /** Set values as a step that "back" undoes; `quiet`: in place of the present one, for sliders. */
  go(changes, quiet = false) {
    const link = state.link(changes);
    if (link === location.hash) return;
    if (!quiet) location.hash = link;
    else {
      history.replaceState(null, "", link);
      window.dispatchEvent(new HashChangeEvent("hashchange"));
    }
  },

  /**
   * Set values of a control that is being moved or typed into. Its view follows by itself, since drawing anew would take the
   * control from the hand; the links that are on the page take the values along.
   */
  keep(changes) {
    history.replaceState(null, "", state.link(changes));
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
