// Pictures as the model gets them, and the squares that it cuts them into.

const BRIGHTNESS = "its brightness stretched from the smallest number that the model gets to the largest";

/** The picture; with a `patch`, its squares, too; with a grid of shares, these in blue. It repeats what a table says. */
function pictureOf(pixels, patch = 0, grid = null) {
  const [, height, width] = pixels.shape;
  const [rows, columns] = patch ? [height / patch, width / patch] : [0, 0];
  const most = grid ? largest(grid.data) : 0;
  const squares = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = grid ? grid.at(row, column) : null;
      squares.push(drawn("rect", { x: column * patch, y: row * patch, width: patch, height: patch, fill: "#1f6fd6", "fill-opacity": (most ? (0.75 * share) / most : 0).toFixed(3),
        stroke: "#b35900", "stroke-width": patch / 40, "data-value": share }, share === null ? null : drawn("title", {}, `row ${row}, column ${column}: ${percent(share)}`)));
    }
  }
  return el("div", { class: "patches" }, canvasOf(pixels), patch ? drawn("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, squares) : null);
}

/** Pixels (channels, height, width) on a canvas: one channel is grey, three are red, green and blue. */
function canvasOf(pixels) {
  const [channels, height, width] = pixels.shape;
  let [low, high] = [Infinity, -Infinity];
  for (const value of pixels.data) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const canvas = el("canvas", { width, height, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    for (let part = 0; part < 3; part++) {
      const value = pixels.data[(channels === 3 ? part : 0) * height * width + place];
      image.data[4 * place + part] = Math.round((255 * (value - low)) / (high - low || 1));
    }
    image.data[4 * place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
