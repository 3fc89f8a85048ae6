// Curves over one axis, as a picture; the numbers stand in a table that the view puts beside it.

const DASHES = ["", "7 4", "2 3", "10 3 2 3", "4 2", "12 4"]; // curves differ by these and by their names, not by colour alone
const INKS = ["#08306b", "#993404", "#1b6b3a", "#6a3d9a", "#5b4a00", "#333333"];
const CURVES = DASHES.length;
const CURVE_BOX = { width: 480, height: 230, left: 76, right: 14, top: 12, bottom: 42 };

/**
 * Up to six curves.
 *
 * series: [{ name, values }], values[i] at places[i]; NaN leaves a gap. horizontal, vertical: what the axes are. about: in words.
 */
function curves(series, places, { horizontal, vertical, about }) {
  const { width, height, left, right, top, bottom } = CURVE_BOX;
  const finite = series.flatMap(({ values }) => Array.from(values).filter(Number.isFinite));
  const [low, high] = spread(finite);
  const [first, last] = spread(places);
  const x = (place) => left + ((place - first) / (last - first)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "curves", role: "img", "aria-label": about });
  for (const value of [low, (low + high) / 2, high]) {
    picture.append(drawn("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "rule" }),
      drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, tick(value, high - low)));
  }
  for (const place of new Set([first, Math.round((first + last) / 2), last])) {
    picture.append(drawn("text", { x: x(place), y: height - bottom + 17, "text-anchor": place === first ? "start" : place === last ? "end" : "middle" }, minus(String(place))));
  }
  picture.append(drawn("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, horizontal),
    drawn("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)` }, vertical));
  series.forEach(({ values }, number) => {
    const look = { fill: "none", stroke: INKS[number % CURVES], "stroke-width": 2, "stroke-dasharray": DASHES[number % CURVES] || null };
    picture.append(drawn("path", { ...look, d: pathOf(values, places, x, y), "data-series": number }));
  });
  const keys = series.map(({ name }, number) => el("li", {},
    drawn("svg", { width: 44, height: 10, "aria-hidden": "true" }, drawn("line", { x1: 0, y1: 5, x2: 44, y2: 5, stroke: INKS[number % CURVES], "stroke-width": 2, "stroke-dasharray": DASHES[number % CURVES] || null })),
    el("span", {}, ` ${name}`)));
  return el("figure", { class: "matrix" }, scrolling(picture), el("ul", { class: "keys" }, keys));
}

function pathOf(values, places, x, y) {
  let [path, drawing] = ["", false];
  places.forEach((place, at) => {
    if (Number.isFinite(values[at])) path += `${drawing ? "L" : "M"}${x(place).toFixed(2)} ${y(values[at]).toFixed(2)}`;
    drawing = Number.isFinite(values[at]);
  });
  return path;
}

/** A number beside an axis; what is zero but for rounding is 0. */
function tick(value, range) {
  return Math.abs(value) < 1e-3 * range ? "0" : minus(String(Number(value.toPrecision(4))));
}

/** The ends of some numbers, never the same. */
function spread(numbers) {
  const [low, high] = numbers.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}
