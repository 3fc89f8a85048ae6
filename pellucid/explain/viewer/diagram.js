// The architecture as a picture whose boxes are links to the steps: the stacks side by side, the chosen layer unfolded.

const BOX = { width: 148, height: 22, gap: 5, across: 172 };

/** The boxes of a trace, from the bottom up as in Figure 1 of the paper. `current`: the tap that is looked at. */
function diagram(trace, current) {
  const columns = ["encoder", "decoder"].map((stack) => boxesOf(trace, stack, current)).filter((boxes) => boxes.length);
  const top = ["pooled", "logits", "probs"].filter((name) => trace.has(name)).map((name) => ({ text: TOP[name], tap: name }));
  columns.at(-1)?.push(...top);
  const tallest = Math.max(...columns.map((boxes) => boxes.length));
  const [width, height] = [columns.length * BOX.across, tallest * (BOX.height + BOX.gap) + 8];
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "diagram", role: "group", "aria-label": "The architecture; each box is a step" });
  columns.forEach((boxes, number) => {
    boxes.forEach((box, level) => {
      const y = height - 4 - (level + 1) * (BOX.height + BOX.gap);
      picture.append(linkBox(box, number * BOX.across + 12, y, current));
    });
  });
  if (columns.length === 2) picture.append(bridge(columns, height));
  return picture;
}

const TOP = { pooled: "pooled", logits: "linear", probs: "softmax" };
const PARTS = { self_attn: "self-attention", cross_attn: "cross-attention", ffn: "feed-forward" };

function boxesOf(trace, stack, current) {
  const boxes = [];
  const first = trace.list.find((tap) => tap.name.startsWith(`${stack}.embed.`));
  if (first) boxes.push({ text: stack === "encoder" ? "input embedding" : "output embedding", tap: first.name, within: `${stack}.embed.` });
  const layers = trace.layers(stack);
  const open = Number(current.match(new RegExp(`^${stack}\\.layers\\.(\\d+)\\.`))?.[1] ?? 0);
  for (let layer = 0; layer < layers; layer++) {
    const home = `${stack}.layers.${layer}.`;
    const taps = trace.list.filter((tap) => tap.name.startsWith(home));
    if (layer !== open) {
      boxes.push({ text: `${stack} layer ${layer}`, tap: taps[0].name, within: home, folded: true });
      continue;
    }
    const seen = new Set();
    for (const tap of taps) {
      const part = tap.name.slice(home.length).split(".")[0];
      const kind = part.replace(/_(residual|norm)$/, "");
      const group = part === kind ? kind : part.endsWith("_norm") ? `norm ${kind}` : `add ${kind}`;
      if (seen.has(group) || group === "out") continue;
      seen.add(group);
      const text = part === kind ? PARTS[kind] ?? kind : part.endsWith("_norm") ? "norm" : "add";
      boxes.push({ text, tap: tap.name, within: part === kind ? `${home}${kind}.` : `${home}${part}`, layer });
    }
  }
  return boxes;
}

function linkBox(box, x, y, current) {
  const here = box.within ? current.startsWith(box.within) : current === box.tap;
  const className = ["box", box.folded ? "folded" : "", here ? "here" : "", box.layer === undefined ? "" : "layer"].join(" ").trim();
  return drawn("a", { href: state.link({ view: "walk", tap: box.tap, number: null }), "aria-current": here ? "step" : null, class: className },
    drawn("rect", { x, y, width: BOX.width, height: BOX.height, rx: 4 }),
    drawn("text", { x: x + BOX.width / 2, y: y + 15, "text-anchor": "middle" }, box.text + (box.layer === undefined ? "" : ` ${box.layer}`)));
}

/** The way of the memory from the encoder into the decoder's cross-attention. */
function bridge([encoder, decoder], height) {
  const cross = decoder.findIndex((box) => box.text === PARTS.cross_attn);
  const y = (level) => height - 4 - (level + 1) * (BOX.height + BOX.gap) + BOX.height / 2;
  const x = 12 + BOX.width;
  if (cross < 0) return drawn("g");
  return drawn("path", { d: `M${x} ${y(encoder.length - 1)} h12 V${y(cross)} h12`, class: "bridge", "aria-hidden": "true" });
}
