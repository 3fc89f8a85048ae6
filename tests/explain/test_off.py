"""Off costs nothing: without a tap the model is, node for node, the one whose source has no word of taps."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, inputs, make
from torch import Tensor, fx

from pellucid.base.config import EmbeddingConfig, HeadConfig, StackConfig
from pellucid.explain.forward import run

ROOT = Path(__file__).parents[2]
SHARED = StackConfig(n_layers=2, n_heads=6, n_kv_heads=2, d_head=10, d_ff=20)
CONFIGS: dict[str, Any] = {
    "post": ENCODER_DECODER,
    "pre": replace(ENCODER_DECODER, norm="pre", activation="swiglu", norm_kind="rms"),
    "rotary": replace(DECODER, positions="rotary", decoder=SHARED),
    "relative": replace(ENCODER, positions="relative", head=HeadConfig(transform="norm", bias=True)),
    "learned": replace(ENCODER, positions="learned", embedding=EmbeddingConfig(types=2, norm=True)),
    "additive": replace(ENCODER_DECODER, attention="additive"),
    "pictures": PICTURES,
    "pooled": replace(ENCODER, head=HeadConfig(pool="mean", transform="dense")),
}


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("without_taps", ROOT / "benchmarks" / "without_taps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["without_taps"] = module
    spec.loader.exec_module(module)
    return module


WITHOUT = _module()


def twin(config: Any, model: Any) -> Any:
    """The same model from the source without taps."""
    other = WITHOUT.modules()["build"].build(config).to(next(model.parameters()).dtype).eval()
    other.load_state_dict(model.state_dict())
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        theirs.copy_(ours)
    return other


def call(model: Any, config: Any, padding: str) -> Tensor:
    given = inputs(config, padding)
    if config.architecture == "encoder-decoder":
        return model(given.source, given.target, source_mask=given.source_mask, target_mask=given.target_mask)
    if config.architecture == "encoder":
        return model(given.source, source_mask=given.source_mask)
    return model(given.target, mask=given.target_mask)


def graph(model: Any, config: Any, padding: str) -> list[tuple[str, str, str, str]]:
    """Every node that the compiler sees: kind, what is called, with what."""
    found: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., Any]:
        found.append(graph)
        return graph.forward

    torch.compiler.reset()
    with torch.no_grad():
        call(torch.compile(model, backend=keep, fullgraph=True), config, padding)
    assert len(found) == 1
    return [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in found[0].graph.nodes]


def shallow(stack: StackConfig) -> StackConfig:
    """One layer: the others add the same nodes again."""
    return replace(stack, n_layers=1)


def test_nothing_of_taps_is_left_in_the_stripped_source() -> None:
    for path in (ROOT / "pellucid" / "model").glob("*.py"):
        if f"pellucid.model.{path.stem}".startswith(WITHOUT.AS_THEY_ARE):
            continue
        tree = ast.parse(WITHOUT.stripped(path.read_text(encoding="utf-8")))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.keyword)) and node.arg}
        assert not names & {"tap", "inside", "norm_tap", "within", "Tap"}, path.name


@pytest.mark.parametrize(("config", "padding"), [*((config, "right") for config in CONFIGS), ("post", "none")])
def test_off_the_graph_is_that_of_the_code_without_taps(config: str, padding: str) -> None:
    one = replace(CONFIGS[config], encoder=shallow(CONFIGS[config].encoder), decoder=shallow(CONFIGS[config].decoder))
    model = make(one)
    ours, theirs = graph(model, one, padding), graph(twin(one, model), one, padding)
    assert len(ours) > 30
    assert [node for node in zip(ours, theirs, strict=False) if node[0] != node[1]] == []
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("padding", ["none", "right"])
@pytest.mark.parametrize("config", CONFIGS)
def test_off_every_bit_is_that_of_the_code_without_taps(config: str, padding: str) -> None:
    model = make(CONFIGS[config])
    with torch.inference_mode():
        ours = run(model, inputs(CONFIGS[config], padding), None)
        theirs = call(twin(CONFIGS[config], model), CONFIGS[config], padding)
    assert torch.equal(ours, theirs)


def test_the_tap_lines_are_told_from_the_others() -> None:
    """The stripped source still has all modules, and is shorter by the taps alone."""
    whole = (ROOT / "pellucid" / "model" / "attention.py").read_text(encoding="utf-8")
    assert re.findall(r"class (\w+)", WITHOUT.stripped(whole)) == re.findall(r"(?m)^class (\w+)", whole)
    source = (
        "def f(x, tap=None, y=2):\n    if tap is not None:\n        x = tap('a', x)\n    return x if tap is None else tap(x)"
    )
    assert WITHOUT.stripped(source) == "def f(x, y=2):\n    return x"
