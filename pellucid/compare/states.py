"""What goes from layer to layer of a decoder that stands alone, Transformer or recurrent network.

Shapes: B rows, T positions, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pellucid.model.transformer import DecoderOnly


@torch.no_grad()
def layer_states(model: DecoderOnly, ids: Tensor) -> list[Tensor]:
    """The vectors (B, T, D) of ``ids`` (B, T) as they enter the first layer, and after each layer."""
    found: list[Tensor] = []

    def enter(_: object, arguments: tuple[Any, ...]) -> None:
        found.append(arguments[0])

    def leave(_: object, arguments: object, out: Any) -> None:
        found.append(out[0] if isinstance(out, tuple) else out)  # a recurrent layer returns what it carries, too

    layers = list(model.decoder.layers)
    hooks = [layers[0].register_forward_pre_hook(enter), *(layer.register_forward_hook(leave) for layer in layers)]
    model.eval()
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return found
