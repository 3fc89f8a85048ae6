// The views by name, in the order of their links. Each file of views/ adds one:
// title, sentence, show(trace, place), and where it matters available(trace) and keys: { letter: action }.

const VIEWS = {};

/** What the page shows: its trace, and whether a server with the model stands behind it. */
const view = { trace: null, live: false };
