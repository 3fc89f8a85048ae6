"""Taps: the named points of the architecture where a number can be read or changed.

``forward(..., tap=f)`` calls ``f(name, tensor)`` at every point and goes on with the tensor that ``f`` returns, so that
reading and editing are one mechanism. (Only "probs" is for reading alone: the model returns the logits that it is made of.)
``TABLE`` is the only list of the names: code, documentation and tests read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Tapper: TypeAlias = "Callable[[str, Tensor], Tensor]"


class Tap:
    """A tapper together with the place in the architecture that it is called from."""

    def __init__(self, tapper: Tapper, prefix: str = "") -> None:
        self.tapper = tapper
        self.prefix = prefix

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        return self.tapper(self.prefix + name, tensor)


def within(tap: Tap | None, *place: str | int) -> Tap | None:
    """The tap for a part of the model: ``within(tap, "layers", 0)``. Without a tap no string is made."""
    return None if tap is None else Tap(tap.tapper, tap.prefix + "".join(f"{name}." for name in place))


@dataclass(frozen=True)
class TapRow:
    """One row of the table. ``name`` may hold ``N`` for the number of a layer; a tensor has the batch before its ``axes``."""

    name: str
    symbol: str
    formula: str
    axes: tuple[str, ...]
    sentence: str


_EMBEDDING = (
    ("tokens", "E[t]", "E[t]", "the row of the embedding matrix for each token"),
    ("scaled", "e", "E[t] sqrt(d_model)", "the token vectors, multiplied by sqrt(d_model) (section 3.4)"),
    ("patches", "E_p", "x_p E", "the squares of a picture, projected; before them the class token, where there is one"),
    ("positions", "PE", "PE(pos)", "the vector of each position, counted from the first real token"),
    ("types", "T", "T[k]", "the vector of each token's type (segment)"),
    ("out", "x", "e + PE + T", "what the first layer receives, after norm and dropout where there are any"),
)
_ATTENTION = (
    ("q_projected", "Q", "x W^Q", ("head", "position", "d_head"), "the query projection, before any rotation"),
    ("k_projected", "K", "x W^K", ("head", "position", "d_head"), "the key projection, before any rotation"),
    ("v_projected", "V", "x W^V", ("head", "position", "d_head"), "the value projection"),
    ("q", "Q", "Q", ("head", "position", "d_head"), "what each position asks for"),
    ("k", "K", "K", ("head", "position", "d_head"), "what each position offers to be found by"),
    ("v", "V", "V", ("head", "position", "d_head"), "what each position hands over when attended to"),
    ("scores", "Q K^T", "Q K^T", ("head", "query", "key"), "how well each query matches each key"),
    ("scaled", "S", "Q K^T / sqrt(d_head)", ("head", "query", "key"), "the scores, kept small for the softmax"),
    ("bias", "b", "b(distance)", ("head", "query", "key"), "what positions add to the scores (ALiBi, T5)"),
    ("mask", "M", "1: may attend", ("head", "query", "key"), "which keys a query may attend to"),
    ("masked", "S'", "S + b where M, else -inf", ("head", "query", "key"), "the scores with the forbidden keys removed"),
    ("weights", "A", "softmax(S')", ("head", "query", "key"), "the share of attention; every row sums to 1"),
    ("z", "Z", "A V", ("head", "query", "d_head"), "the values, averaged by the weights, head by head"),
    ("concat", "[Z_1 .. Z_h]", "concat(Z_1, .., Z_h)", ("query", "heads x d_head"), "the heads side by side"),
    ("out", "O", "concat(Z) W^O", ("query", "d_model"), "the heads mixed by the output projection"),
)
_NORM = (
    ("mean", "m", "mean(x)", ("position", "1"), "the mean of each vector"),
    ("std", "s", "sqrt(var(x) + epsilon)", ("position", "1"), "its standard deviation, n in the denominator"),
    ("normalized", "n", "(x - m) / s", ("position", "d_model"), "the vector with mean 0 and variance 1"),
    ("out", "y", "gain n + bias", ("position", "d_model"), "scaled and shifted by learned numbers"),
)
_FEED_FORWARD = (
    ("hidden_pre", "h'", "x W_1 + b_1", ("position", "d_ff"), "the hidden layer before its activation"),
    ("gate", "g", "x W_g + b_g", ("position", "d_ff"), "what opens and closes the hidden units (gated variants)"),
    ("hidden", "h", "activation(h')", ("position", "d_ff"), "the hidden layer; gated: activation(g) h'"),
    ("out", "f", "h W_2 + b_2", ("position", "d_model"), "back to the width of the model"),
)
_RECURRENT = (
    (
        "gates",
        "i f g o; r z n",
        "sigmoid(W x + b + U h + c), g and n: tanh",
        "gates x d_hidden",
        "side by side: input, forget, candidate and output gate (LSTM); reset, update, candidate (GRU); a plain RNN has none",
    ),
    ("cell", "c", "f c + i g", "d_hidden", "what an LSTM carries from position to position"),
    ("hidden", "h", "o tanh(c)", "d_hidden", "the state; GRU: (1 - z) n + z h, RNN: tanh(W x + b + U h + c)"),
)
_BRIDGE = (
    ("hidden", "h_0", "tanh(W h_S + b)", "the state that the decoder begins with, made from the encoder's last, or their mean"),
    ("cell", "c_0", "W c_S + b", "what an LSTM carries, in the same way"),
)


def _rows() -> tuple[TapRow, ...]:
    wide = ("position", "d_model")
    rows = []
    for stack in ("encoder", "decoder"):
        rows += [
            TapRow(f"{stack}.embed.{n}", s, f, wide, text)
            for n, s, f, text in _EMBEDDING
            if (n, stack) != ("patches", "decoder")
        ]
        rows += [TapRow(f"{stack}.embed.norm.{n}", s, f, axes, text) for n, s, f, axes, text in _NORM]
        attentions = ("self_attn",) if stack == "encoder" else ("self_attn", "cross_attn")
        for part in (*attentions, "ffn"):
            place = f"{stack}.layers.N.{part}"
            table = _FEED_FORWARD if part == "ffn" else _ATTENTION
            skipped = ("cross_attn", "bias")  # positions are those of one sequence: cross-attention has no bias
            rows += [TapRow(f"{place}.{n}", s, f, axes, text) for n, s, f, axes, text in table if (part, n) != skipped]
            rows.append(TapRow(f"{place}_residual", "r", "x + sublayer(x)", wide, "the sublayer's output added to its input"))
            rows += [TapRow(f"{place}_norm.{n}", s, f, axes, text) for n, s, f, axes, text in _NORM]
        if stack == "decoder":
            rows += [TapRow(f"{stack}.layers.N.bridge.{n}", s, f, ("d_hidden",), text) for n, s, f, text in _BRIDGE]
        for way in ("forward", "backward") if stack == "encoder" else ("forward",):
            place = f"{stack}.layers.N.{way}"
            rows += [TapRow(f"{place}.{n}", s, f, ("position", axis), text) for n, s, f, axis, text in _RECURRENT]
        rows.append(TapRow(f"{stack}.layers.N.out", "x", "x", wide, "what the layer hands to the next one"))
        rows += [TapRow(f"{stack}.norm.{n}", s, f, axes, text) for n, s, f, axes, text in _NORM]
        if stack == "decoder":
            text = "a recurrent decoder's state together with what it attended to (Luong et al., 2015, equation 5)"
            rows.append(TapRow("decoder.attentional", "h~", "tanh(W [h; z])", ("position", "d_hidden"), text))
        rows.append(TapRow(f"{stack}.out", "x", "x", wide, "the output of the whole stack"))
    rows.append(TapRow("pooled", "c", "x_0 or mean(x)", ("d_model",), "one vector for the whole sequence"))
    rows.append(TapRow("head.dense", "t'", "x W + b", wide, "the head's own layer, before its activation"))
    rows.append(TapRow("head.hidden", "t", "activation(t')", wide, "and after it"))
    rows += [TapRow(f"head.norm.{n}", s, f, axes, text) for n, s, f, axes, text in _NORM]
    logits = ("target position", "vocabulary")
    rows.append(TapRow("logits", "l", "x E^T", logits, "one number for each entry of the vocabulary"))
    rows.append(TapRow("probs", "p", "softmax(l)", logits, "the probability of each entry to come next"))
    return tuple(rows)


TABLE = _rows()
# What a search for an output goes through, one row a step; a trace has these beside the taps of the model.
STEPS = (
    TapRow("decode.candidates", "c", "largest p(c | y)", ("step", "candidate"), "the tokens that were considered, best first"),
    TapRow("decode.beam", "b", "b", ("step", "candidate"), "the beam that each would extend"),
    TapRow("decode.log_probability", "log p", "log softmax(l)", ("step", "candidate"), "of the token, by the model alone"),
    TapRow("decode.score", "s", "sum of log p", ("step", "candidate"), "of everything written, with that token"),
    TapRow("decode.kept", "", "1: may come", ("step", "candidate"), "what filters, or the width of the beam, leave"),
    TapRow("decode.chosen", "", "1: comes", ("step", "candidate"), "what the output or a beam goes on with, or ends with"),
    TapRow("decode.parents", "b", "b", ("step", "beam"), "the beam that each beam was before the step"),
    TapRow("decode.draw", "u", "0 <= u < 1", ("step", "1"), "the random number that chose, where tokens are drawn"),
)
