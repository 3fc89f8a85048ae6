// The formulas of the table of taps, as "Q K^T / sqrt(d_head)", as MathML.

const WORDS = new Set(["softmax", "concat", "mean", "var", "activation", "gain", "bias", "sublayer", "where", "else", "or", "distance", "log",
  "largest", "may", "attend", "inf", "sum", "of"]);

/** A <math> element. The notation: ^ and _ take the next word or parenthesis, sqrt(...) is a root, the rest is read in order. */
function formula(text) {
  const tokens = text.match(/\.\.|\p{L}+'?|\d+|\S/gu) ?? [];
  let next = 0;

  function group(closing) {
    const row = math("mrow");
    while (next < tokens.length && tokens[next] !== closing) row.append(scripted());
    next += 1;
    return row;
  }

  function scripted() {
    let base = atom();
    while (tokens[next] === "_" || tokens[next] === "^") {
      const kind = tokens[next] === "_" ? "msub" : "msup";
      next += 1;
      base = math(kind, base, script());
    }
    return base;
  }

  /** What stands high or low says by its place where it begins and ends: it needs no parentheses. */
  function script() {
    if (tokens[next] !== "(") return atom();
    next += 1;
    return group(")");
  }

  function atom() {
    const token = tokens[next++] ?? "";
    if (token === "sqrt" && tokens[next] === "(") {
      next += 1;
      return math("msqrt", group(")"));
    }
    if (token === "(") return math("mrow", parenthesis("("), group(")"), parenthesis(")"));
    if (token === "[") return math("mrow", parenthesis("["), group("]"), parenthesis("]"));
    if (/^\d/.test(token)) return math("mn", token);
    if (token === "-") return math("mo", "−");
    if (token === "..") return math("mo", "…");
    if (WORDS.has(token)) return math("mtext", ` ${token} `);
    if (token.endsWith("'")) return math("mrow", math("mi", token.slice(0, -1)), math("mtext", "′"));
    return /^\p{L}/u.test(token) ? math("mi", token) : math("mo", token);
  }

  function parenthesis(text_) {
    const one = math("mo", text_);
    one.setAttribute("stretchy", "false");
    return one;
  }

  const row = math("mrow");
  while (next < tokens.length) row.append(scripted());
  return math("math", row);
}

/** What a tap is and how it is made: "symbol = formula", or the formula alone where it is its own symbol. */
function equation(tap) {
  return tap.symbol ? formula(tap.symbol === tap.formula ? tap.formula : `${tap.symbol} = ${tap.formula}`) : null;
}
