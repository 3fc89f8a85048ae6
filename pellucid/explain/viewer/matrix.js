// A matrix as a table that can be read, walked with the arrow keys, and clicked; above it, where it is large, the whole as a picture.

const COLUMNS = 8; // numbers side by side
const ROWS = 64; // rows of numbers

/**
 * One matrix of a tap.
 *
 * numbers: of two axes. tap, head: where it is from; head null where there are none. rows, columns: labels, or null.
 * about: what it is, for those who listen. pick(row, column): a cell was chosen; default: it becomes "this number".
 * most: the size of the darkest. Each cell holds data-row and data-column, so that it can be compared with the tap.
 */
function matrix(numbers, { tap = "", head = null, rows = null, columns = null, about = "", axes = ["row", "column"], pick = null, wide = COLUMNS, most = largest(numbers.data) } = {}) {
  const [height, width] = numbers.shape;
  const figure = el("figure", { class: "matrix" });
  const index = (row, column) => [...(head === null ? [] : [head]), ...(numberOfAxes(tap) === 1 ? [] : [row]), column];
  const chosen = pick ?? ((row, column) => state.go({ number: `${tap}:${index(row, column)}` }));
  const key = (row, column) => `${tap || about}:${head ?? ""}:${row},${column}`;
  const current = state.all().number;
  let [top, left, focusRow, focusColumn] = [0, 0, 0, 0];
  if (current?.startsWith(`${tap}:`) && tap) {
    const place = current.slice(tap.length + 1).split(",").map(Number);
    if (head === null || place[0] === head) {
      [focusRow, focusColumn] = place.length > 1 ? place.slice(-2) : [0, place[0]];
      focusRow = Math.min(focusRow, height - 1);
      focusColumn = Math.min(focusColumn, width - 1);
      top = Math.floor(focusRow / ROWS) * ROWS;
      left = Math.floor(focusColumn / wide) * wide;
    }
  }
  const isCurrent = (row, column) => Boolean(tap) && current === `${tap}:${index(row, column)}`;
  const table = el("table", { role: "grid", "aria-label": about || tap, "data-tap": tap || null, "data-head": head,
    "aria-rowcount": height, "aria-colcount": width });

  function cell(row, column) {
    const value = numbers.at(row, column);
    const ground = colour(value, most);
    const [rowName, columnName] = [rows?.[row] ?? row, columns?.[column] ?? column];
    return el("td", {
      role: "gridcell", "data-row": row, "data-column": column, "data-key": key(row, column),
      tabindex: row === focusRow && column === focusColumn ? 0 : -1, "aria-selected": isCurrent(row, column) ? "true" : null,
      style: `background:rgb(${ground});color:${inkOn(ground)}`, title: exact(value),
      "aria-label": `${axes[0]} ${rowName}, ${axes[1]} ${columnName}: ${shown(value)}`,
      onclick: () => { [focusRow, focusColumn] = [row, column]; chosen(row, column); },
    }, shown(value));
  }

  function fill() {
    const [down, right] = [Math.min(top + ROWS, height), Math.min(left + wide, width)];
    const head_ = el("tr", { role: "row" }, el("th", { scope: "col", role: "columnheader" }, `${axes[0]} \\ ${axes[1]}`));
    for (let column = left; column < right; column++) {
      head_.append(el("th", { scope: "col", role: "columnheader", dir: "auto" }, visible(String(columns?.[column] ?? column))));
    }
    const body = [];
    for (let row = top; row < down; row++) {
      const line = el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader", dir: "auto" }, visible(String(rows?.[row] ?? row))));
      for (let column = left; column < right; column++) line.append(cell(row, column));
      body.push(line);
    }
    table.replaceChildren(el("thead", { role: "rowgroup" }, head_), el("tbody", { role: "rowgroup" }, body));
    if (pager) pager.replaceChildren(...pages());
  }

  function move(row, column) {
    focusRow = Math.max(0, Math.min(row, height - 1));
    focusColumn = Math.max(0, Math.min(column, width - 1));
    const [oldTop, oldLeft] = [top, left];
    top = Math.floor(focusRow / ROWS) * ROWS;
    left = Math.floor(focusColumn / wide) * wide;
    if (top !== oldTop || left !== oldLeft) fill();
    table.querySelectorAll('td[tabindex="0"]').forEach((one) => one.setAttribute("tabindex", "-1"));
    const next = table.querySelector(`td[data-row="${focusRow}"][data-column="${focusColumn}"]`);
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  table.addEventListener("keydown", (event) => {
    const [row, column] = [focusRow, focusColumn];
    const steps = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, width - 1], PageUp: [row - 10, column], PageDown: [row + 10, column],
    };
    if (event.key === "Enter" || event.key === " ") chosen(row, column);
    else if (steps[event.key]) move(...steps[event.key]);
    else return;
    event.preventDefault();
  });

  function pages() {
    const found = [];
    const step = (text, go) => button(text, go, { "data-key": `${about}${tap}${head} ${text}` });
    if (width > wide) {
      found.push(step("‹ columns", () => { left = Math.max(0, left - wide); focusColumn = left; fill(); }),
        el("span", {}, `columns ${left} to ${Math.min(left + wide, width) - 1} of ${width}`),
        step("columns ›", () => { if (left + wide < width) left += wide; focusColumn = left; fill(); }));
    }
    if (height > ROWS) {
      found.push(step("‹ rows", () => { top = Math.max(0, top - ROWS); focusRow = top; fill(); }),
        el("span", {}, `rows ${top} to ${Math.min(top + ROWS, height) - 1} of ${height}`),
        step("rows ›", () => { if (top + ROWS < height) top += ROWS; focusRow = top; fill(); }));
    }
    return found;
  }

  const large = width > wide || height > ROWS;
  const pager = large ? el("div", { class: "pager" }) : null;
  if (large) {
    const picture = heat(numbers, most);
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      move(Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width));
    });
    figure.append(picture);
  }
  fill();
  figure.append(...(pager ? [pager] : []), el("div", { class: "scroll", tabindex: "-1" }, table));
  return figure;
}

function numberOfAxes(tap) {
  return view.trace?.taps.get(tap)?.shape.length ?? 2;
}

/** A whole matrix as a picture, one pixel a number. It only repeats what the table says, so it has no name of its own. */
function heat(numbers, most = largest(numbers.data), className = "heat") {
  const [height, width] = numbers.shape;
  const canvas = el("canvas", { width, height, class: className, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    const [red, green, blue] = colour(numbers.data[place], most);
    image.data.set([red, green, blue, 255], 4 * place);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A vector as a matrix of one row. */
function asRow(data) {
  return new Numbers(data, [1, data.length]);
}
