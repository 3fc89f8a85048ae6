"""The formulas of the taps of recurrent networks: see :mod:`.formulas`.

Shapes: T positions, S source positions, H width of a state, G gates.
"""

from __future__ import annotations

import numpy as np

from pellucid.explain.attention_formulas import attn, mask, masked, weights, z
from pellucid.explain.numbers import Formula, MissingTapError, Numbers, Place
from pellucid.explain.trace import Array


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


# Layers


def layer_input(n: Numbers, at: Place) -> Array:
    """What a layer reads; where the decoder's state feeds on what it attended to, that stands beside the embedding."""
    if at.layer > 0:
        return n.tap(f"{at.stack}.layers.{at.layer - 1}.out")
    x = n.tap(f"{at.stack}.embed.out")
    if at.stack == "encoder" or n.config.recurrent.attention != "additive":
        return x
    return np.concatenate((x, n.tap(f"{_last(n, 'decoder')}.cross_attn.z")[0]), axis=-1)


def _last(n: Numbers, stack: str) -> str:
    return f"{stack}.layers.{n.config.stacks()[stack].n_layers - 1}"


def before(n: Numbers, at: Place, name: str) -> Array:
    """What a layer carries into each position, (T, H): the state after the real one that was read before."""
    after, real = n.tap(f"{at.home}.{at.part}.{name}"), n.inputs.get(f"{at.keys}_mask")
    begun = n.maybe(f"{at.home}.bridge.{name}") if at.stack == "decoder" else None
    if begun is None and at.stack == "decoder" and n.config.architecture == "encoder-decoder":
        raise MissingTapError(f"{at.home}.bridge.{name}")
    state, found = np.zeros(after.shape[1]) if begun is None else begun, np.empty_like(after)
    positions = range(len(after))
    for position in reversed(positions) if at.part == "backward" else positions:
        found[position] = state
        if real is None or real[position]:
            state = after[position]
    return found


def _parts(n: Numbers, at: Place) -> tuple[Array, Array]:
    """``W x + b`` and ``U h + c`` of all gates, (T, G * H) each."""
    end = "_l0_reverse" if at.part == "backward" else "_l0"

    def product(kind: str, x: Array) -> Array:
        weight, bias = (n.weights(f"{at.home}.rnn.{which}_{kind}{end}") for which in ("weight", "bias"))
        assert weight is not None
        assert bias is not None
        return x @ weight.T + bias

    return product("ih", layer_input(n, at)), product("hh", before(n, at, "hidden"))


def gates(n: Numbers, at: Place) -> Array:
    x, h = _parts(n, at)
    if n.config.recurrent.cell == "lstm":
        i, f, g, o = np.split(x + h, 4, axis=-1)
        return np.concatenate((sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)), axis=-1)
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x, 3, axis=-1), np.split(h, 3, axis=-1)
    r = sigmoid(x_r + h_r)
    return np.concatenate((r, sigmoid(x_z + h_z), np.tanh(x_n + r * h_n)), axis=-1)


def cell(n: Numbers, at: Place) -> Array:
    i, f, g, _ = np.split(n.tap(f"{at.home}.{at.part}.gates"), 4, axis=-1)
    return f * before(n, at, "cell") + i * g


def hidden(n: Numbers, at: Place) -> Array:
    kind = n.config.recurrent.cell
    if kind == "rnn":
        return np.tanh(sum(_parts(n, at)))
    whole = n.tap(f"{at.home}.{at.part}.gates")
    if kind == "lstm":
        return np.split(whole, 4, axis=-1)[3] * np.tanh(n.tap(f"{at.home}.{at.part}.cell"))
    _, update, candidate = np.split(whole, 3, axis=-1)
    return (1.0 - update) * candidate + update * before(n, at, "hidden")


def layer_out(n: Numbers, at: Place) -> Array:
    both = at.stack == "encoder" and n.config.recurrent.bidirectional
    found = [n.tap(f"{at.home}.{way}.hidden") for way in (("forward", "backward") if both else ("forward",))]
    real = n.inputs.get(f"{at.keys}_mask")
    out = np.concatenate(found, axis=-1)
    return out if real is None else out * real[:, None]


# Between encoder and decoder


def bridge(n: Numbers, at: Place) -> Array:
    layer = max(at.layer + n.config.encoder.n_layers - n.config.decoder.n_layers, 0)
    final = _mean(n, layer) if n.config.recurrent.bridge == "mean" else _final(n, layer, at.step)
    found = n.linear(f"decoder.bridges.{at.layer}.{at.step}", final)
    return np.tanh(found) if at.step == "hidden" else found


def _mean(n: Numbers, layer: int) -> Array:
    last = layer == n.config.encoder.n_layers - 1
    return mean(n.tap("encoder.out" if last else f"encoder.layers.{layer}.out"), n.inputs.get("source_mask"))


def mean(x: Array, real: Array | None) -> Array:
    """Of the real positions of (T, D)."""
    return x.mean(0) if real is None else x[real].sum(0) / max(int(real.sum()), 1)


def _final(n: Numbers, layer: int, name: str) -> Array:
    forward = n.tap(f"encoder.layers.{layer}.forward.{name}")
    first, last = ends(n, len(forward))
    if not n.config.recurrent.bidirectional:
        return forward[last]
    return np.concatenate((forward[last], n.tap(f"encoder.layers.{layer}.backward.{name}")[first]))


def ends(n: Numbers, length: int) -> tuple[int, int]:
    """First and last real position of the source."""
    real = n.inputs.get("source_mask")
    found = np.arange(length) if real is None else np.flatnonzero(real)
    return int(found[0]), int(found[-1])


def last_state(n: Numbers) -> Array:
    """The pooled vector: what each direction has when it has read everything."""
    x = n.tap("encoder.out")
    first, last = ends(n, len(x))
    if not n.config.recurrent.bidirectional:
        return x[last]
    half = x.shape[1] // 2
    return np.concatenate((x[last, :half], x[first, half:]))


# Attention


def asking(n: Numbers, at: Place) -> Array:
    """The decoder's states that attend: those before each position (additive), or the new ones."""
    if n.config.recurrent.attention == "additive":
        return before(n, Place.of(f"{at.home}.forward.hidden"), "hidden")
    return n.tap(f"{at.home}.out")


def q_projected(n: Numbers, at: Place) -> Array:
    return n.linear("decoder.cross_attn.query", asking(n, at))[None]


def q(n: Numbers, at: Place) -> Array:
    return attn(n, at, "q_projected") if n.config.recurrent.attention == "additive" else asking(n, at)[None]


def k_projected(n: Numbers, at: Place) -> Array:
    return n.linear("decoder.cross_attn.key", n.tap("encoder.out"))[None]


def scores(n: Numbers, at: Place) -> Array:
    query, key = attn(n, at, "q"), attn(n, at, "k")
    if n.config.recurrent.attention == "dot":
        return query @ key.transpose(0, 2, 1)
    weight = n.weights("decoder.cross_attn.score.weight")
    assert weight is not None
    return np.einsum("htsk,hk->hts", np.tanh(query[:, :, None] + key[:, None]), weight)


ATTENTION: dict[str, Formula] = {
    "q_projected": q_projected,
    "k_projected": k_projected,
    "q": q,
    "k": lambda n, at: attn(n, at, "k_projected"),
    "v": lambda n, at: n.tap("encoder.out")[None],
    "scores": scores,
    "scaled": lambda n, at: attn(n, at, "scores"),
    "mask": mask,
    "masked": masked,
    "weights": weights,
    "z": z,
}


def attentional(n: Numbers, at: Place) -> Array:
    home = _last(n, "decoder")
    x = np.concatenate((n.tap(f"{home}.out"), n.tap(f"{home}.cross_attn.z")[0]), axis=-1)
    return np.tanh(n.linear("decoder.output", x))


def stack_out(n: Numbers, at: Place) -> Array:
    found = n.maybe("decoder.attentional") if at.stack == "decoder" else None
    return n.tap(f"{_last(n, at.stack)}.out") if found is None else found


LAYER: dict[str, Formula] = {"gates": gates, "cell": cell, "hidden": hidden}
