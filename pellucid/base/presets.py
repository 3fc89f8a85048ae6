"""Model shapes by name, for ``model: {preset: NAME}`` in a recipe. Values that a recipe gives beside the name win."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pellucid.base.config import ModelConfig
from pellucid.base.published import PUBLISHED


def _shape(d_model: int, n_layers: int, n_heads: int, d_ff: int) -> dict[str, Any]:
    stack = {"n_layers": n_layers, "n_heads": n_heads, "d_ff": d_ff}
    return {"d_model": d_model, "encoder": stack, "decoder": dict(stack)}


def _without_vocabulary(config: ModelConfig) -> dict[str, Any]:
    """The shape; how many words or classes there are is for the data to say."""
    return {name: value for name, value in asdict(config).items() if name not in ("source_vocabulary", "target_vocabulary")}


# tiny is the shape that Wu et al. (2021) train on Multi30k. The published ones begin with paper-base and paper-big, the rows of
# those names in Table 3 of "Attention Is All You Need"; the rest of their recipes is in recipes/paper-base.yaml and
# paper-big.yaml.
MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "small": _shape(d_model=256, n_layers=3, n_heads=4, d_ff=1024),
    "tiny": _shape(d_model=128, n_layers=4, n_heads=4, d_ff=256),
    **{name: _without_vocabulary(published.config) for name, published in PUBLISHED.items()},
}
