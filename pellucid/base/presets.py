"""Model shapes by name, for ``model: {preset: NAME}`` in a recipe. Values that a recipe gives beside the name win."""

from __future__ import annotations

from typing import Any


def _shape(d_model: int, n_layers: int, n_heads: int, d_ff: int) -> dict[str, Any]:
    stack = {"n_layers": n_layers, "n_heads": n_heads, "d_ff": d_ff}
    return {"d_model": d_model, "encoder": stack, "decoder": dict(stack)}


# paper-base and paper-big are the rows of those names in Table 3 of "Attention Is All You Need"; the rest of their
# recipes is in recipes/paper-base.yaml and paper-big.yaml. tiny is the shape that Wu et al. (2021) train on Multi30k.
MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "paper-base": {**_shape(d_model=512, n_layers=6, n_heads=8, d_ff=2048), "dropout": 0.1},
    "paper-big": {**_shape(d_model=1024, n_layers=6, n_heads=16, d_ff=4096), "dropout": 0.3},
    "small": _shape(d_model=256, n_layers=3, n_heads=4, d_ff=1024),
    "tiny": _shape(d_model=128, n_layers=4, n_heads=4, d_ff=256),
}
