"""Configuration of recurrent networks, and what of a model's configuration goes together with one."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pellucid.base.config import ModelConfig

CELLS = ("rnn", "gru", "lstm")
_BLOCKS = ("activation_dropout", "norm", "activation", "bias", "attention", "positional")  # what only blocks have


@dataclass(frozen=True)
class RecurrentConfig:
    """A recurrent network in place of the Transformer's blocks: `model.architecture: lstm`, `gru` or `rnn`.

    Layers are `model.encoder.n_layers` and `model.decoder.n_layers`, embeddings `model.d_model` wide.
    """

    cell: Literal["none", "rnn", "gru", "lstm"] = "none"  # set from model.architecture; none: no recurrent network
    hidden: int | None = None  # width of a state, in each direction; null: d_model
    bidirectional: bool = True  # the encoder reads from both ends
    attention: Literal["none", "additive", "dot"] = "none"  # Bahdanau's (additive), Luong's (dot); none: one vector between
    bridge: Literal["last", "mean"] = "last"  # where the decoder begins: the encoder's last state, or the mean of its states

    def width(self, d_model: int) -> int:
        """Of a state."""
        return d_model if self.hidden is None else self.hidden

    def memory_width(self, d_model: int) -> int:
        """Of what the encoder hands over at each position: the states of both directions side by side."""
        return self.width(d_model) * (2 if self.bidirectional else 1)


def problems(model: ModelConfig) -> list[tuple[str, str]]:
    """What contradicts itself where a model is recurrent, or only says so in part: names of keys, and what is wrong."""
    own, found = model.recurrent, []
    if own.cell == "none":
        text = "belongs to a recurrent network: set architecture to rnn, gru or lstm"
        found += [(f"recurrent.{name}", text) for name in _changed(own, ("hidden", "bidirectional", "attention", "bridge"))]
        if model.head.pool == "last":
            found.append(("head.pool", '"last" is the last state of a recurrent network (architecture: rnn, gru or lstm)'))
        return found
    if model.architecture in CELLS and own.cell != model.architecture:
        found.append(("recurrent.cell", f"contradicts architecture: {model.architecture}; leave it out"))
    text = "belongs to the Transformer's blocks, and a recurrent network has none: leave it out"
    found += [(name, text) for name in _changed(model, _BLOCKS)]
    for name in ("encoder", "decoder"):
        stack = getattr(model, name)
        found += [(f"{name}.{key}", text) for key in _changed(stack, tuple(f.name for f in fields(stack))[1:])]
    if model.positions not in ("sinusoidal", "none"):
        found.append(("positions", text))
    if own.hidden is not None and own.hidden < 1:
        found.append(("recurrent.hidden", f"must be at least 1, is {own.hidden}"))
    if model.head.pool == "class":
        found.append(("head.pool", 'must be "last" or "mean": a recurrent network reads no class token'))
    return found if found or model.architecture in CELLS else [*found, *_of_stacks(model)]


def _of_stacks(model: ModelConfig) -> list[tuple[str, str]]:
    """What depends on the stacks that there are; of ``architecture: lstm`` the task has to say that first."""
    own, found = model.recurrent, []
    if model.architecture != "encoder-decoder":
        text = f"needs an encoder and a decoder, this model has an {model.architecture} alone".replace(
            "an decoder", "a decoder"
        )
        found += [(f"recurrent.{name}", text) for name in _changed(own, ("attention", "bridge"))]
    shared = model.tie == "all" or (model.tie == "decoder" and "decoder" in model.architecture)
    width = model.output_width
    if shared and width != model.d_model:
        text = f"an output matrix for vectors of {width} (recurrent.hidden) cannot be an embedding of d_model = {model.d_model}"
        found.append(("tie", f'{text}: take "embeddings" or "none"'))
    return found


def _changed(config: Any, names: tuple[str, ...]) -> list[str]:
    """Those of the fields that have another value than their default."""
    found = []
    for field in fields(config):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name in names and getattr(config, field.name) != default:
            found.append(field.name)
    return found
