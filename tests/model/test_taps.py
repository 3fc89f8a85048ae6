"""Taps: every name of the table is reached, shows what it says, takes part in the computation, and costs nothing when off."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from examples import CONFIG, SOURCE, SOURCE_MASK, TARGET, TARGET_MASK, B, D, S, T, V, close, make, randomised
from torch import Tensor, fx, nn

from pellucid.base import taps
from pellucid.base.config import EmbeddingConfig, HeadConfig, PictureConfig, StackConfig
from pellucid.base.recurrent import RecurrentConfig
from pellucid.base.taps import TABLE
from pellucid.model.build import build
from pellucid.model.transformer import EncoderDecoder

NORM_PARTS = ("mean", "std", "normalized", "out")
# What only some families have: another embedding box, a bias of the scores, a head with a layer of its own.
FAMILY: dict[str, dict[str, Any]] = {
    "types, norms, bias": {"embedding": EmbeddingConfig(types=2, norm=True), "positions": "relative"},
    "head": {"head": HeadConfig(transform="norm", activation="gelu", bias=True), "norm": "pre"},
    "rotary, shared heads": {
        "positions": "rotary",
        "norm": "pre",
        "norm_kind": "rms",
        "encoder": StackConfig(n_layers=2, n_heads=3, n_kv_heads=1, d_ff=20),
        "attention": "dot-unscaled",
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"norm": "pre"},
    "gated": {"activation": "geglu", "bias": False},
    "additive": {"attention": "additive", "positions": "learned"},
}
ROWS = {row.name: row for row in TABLE}
Edit = Callable[[str, Tensor], Tensor]


def row_of(name: str) -> str:
    return re.sub(r"\.layers\.\d+\.", ".layers.N.", name)


def recorded(model: EncoderDecoder, masks: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits, and every tensor that was shown, by name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        assert name not in seen, f"{name} is shown twice"
        seen[name] = tensor
        return tensor

    return forward(model, keep, masks), seen


def forward(model: EncoderDecoder, tap: Edit | None, masks: bool = True) -> Tensor:
    given = {"source_mask": SOURCE_MASK, "target_mask": TARGET_MASK} if masks else {}
    return model(SOURCE, TARGET, tap=tap, **given)


@cache
def shown(variant: str, masks: bool = True) -> dict[str, Tensor]:
    with torch.inference_mode():
        return recorded(make(**VARIANTS[variant]), masks)[1]


def test_names_of_the_table_are_distinct_and_all_is_said() -> None:
    assert len(ROWS) == len(TABLE)
    assert all(row.symbol and row.formula and row.axes and row.sentence for row in TABLE)


def test_what_is_shown_is_what_the_table_names() -> None:
    seen = [shown(variant) for variant in VARIANTS]
    with torch.inference_mode():
        seen += [recorded(make(**changes))[1] for changes in FAMILY.values()]
        seen += [of_pictures(), of_recurrent_layers()]
    assert {row_of(name) for names in seen for name in names} == set(ROWS)


def of_pictures() -> dict[str, Tensor]:
    """What a picture classifier shows."""
    picture = PictureConfig(patch=2, height=4, width=6, channels=1)
    config = replace(CONFIG, architecture="encoder", tie="none", picture=picture, head=HeadConfig(pool="class"))
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        seen[name] = tensor
        return tensor

    randomised(build(config))(torch.randn(B, 1, 4, 6, dtype=torch.float64), tap=keep)
    assert seen["pooled"].shape == (B, D)
    assert seen["encoder.embed.patches"].shape == (B, 7, D)
    return seen


def of_recurrent_layers() -> dict[str, Tensor]:
    """What an LSTM with attention shows; each tap as it is at last."""
    stacks = {"encoder": StackConfig(n_layers=2), "decoder": StackConfig(n_layers=3)}
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        seen[name] = tensor
        return tensor

    forward(make(recurrent=RecurrentConfig("lstm", attention="additive"), **stacks), keep)
    return seen


@pytest.mark.parametrize("family", FAMILY)
def test_looking_at_a_family_changes_nothing(family: str) -> None:
    model = make(**FAMILY[family])
    out, seen = recorded(model)
    close(out, forward(model, None))
    if "encoder.layers.0.self_attn.bias" in seen:
        bias, scaled, masked = (seen[f"encoder.layers.0.self_attn.{name}"] for name in ("bias", "scaled", "masked"))
        mask = seen["encoder.layers.0.self_attn.mask"]
        close(masked[mask], (scaled + bias)[mask])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_shows_the_same_steps(variant: str) -> None:
    for stack, n_layers in (("encoder", 2), ("decoder", 3)):
        steps = [
            {name.removeprefix(f"{stack}.layers.{n}.") for name in shown(variant) if name.startswith(f"{stack}.layers.{n}.")}
            for n in range(n_layers)
        ]
        assert all(layer == steps[0] for layer in steps)
        assert not any(name.startswith(f"{stack}.layers.{n_layers}") for name in shown(variant))


def test_what_a_model_lacks_is_absent() -> None:
    norms = {f"{stack}.norm.{part}" for stack in ("encoder", "decoder") for part in NORM_PARTS}
    gates = {name for name in ROWS if name.endswith("ffn.gate")}
    others = r"^head\.|_attn\.bias$|embed\.(types|patches|norm\.)|\.(forward|backward|bridge|attentional)\b"
    family = {name for name in ROWS if name == "pooled" or re.search(others, name)}
    assert set(ROWS) - {row_of(name) for name in shown("post")} == norms | gates | family
    assert set(ROWS) - {row_of(name) for name in shown("pre")} == gates | family
    assert set(ROWS) - {row_of(name) for name in shown("gated")} == norms | family


def test_without_padding_only_causal_attention_shows_a_mask() -> None:
    masks = {row_of(name) for name in shown("post", masks=False) if name.endswith(("mask", "masked"))}
    assert masks == {"decoder.layers.N.self_attn.mask", "decoder.layers.N.self_attn.masked"}


def sizes(name: str) -> dict[str, int]:
    """The size of each axis that the table may name, at the place of ``name``."""
    stack, heads, d_ff = ("encoder", 3, 20) if name.startswith("encoder") else ("decoder", 2, 16)
    # Keys and values of cross-attention belong to the positions of the source.
    of_source = stack == "encoder" or re.search(r"cross_attn\.[kv](_projected)?$", name) is not None
    return {
        "position": S if of_source else T,
        "query": S if stack == "encoder" else T,
        "key": S if stack == "encoder" or "cross_attn" in name else T,
        "target position": T,
        "vocabulary": V,
        "head": heads,
        "d_head": D // heads,
        "heads x d_head": D,
        "d_model": D,
        "d_ff": d_ff,
        "1": 1,
    }


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_axes_are_those_of_the_table_behind_the_batch(variant: str, masks: bool) -> None:
    for name, tensor in shown(variant, masks).items():
        size = sizes(name)
        assert tuple(tensor.shape) == (B, *(size[axis] for axis in ROWS[row_of(name)].axes)), name


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_looking_changes_nothing(variant: str, masks: bool) -> None:
    model = make(**VARIANTS[variant])
    close(recorded(model, masks)[0], forward(model, None, masks))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_looking_changes_no_dropout(norm: str) -> None:
    """While training the same noise falls on the same numbers: every dropout is called, in the same order.

    That is in a batch without padding, which training leaves out and looking does not.
    """
    model = make(norm=norm, dropout=0.3, attention_dropout=0.2, activation_dropout=0.1).train()
    torch.manual_seed(3)
    plain = forward(model, None, masks=False)
    torch.manual_seed(3)
    close(recorded(model, masks=False)[0], plain)


def test_looking_changes_no_gradient() -> None:
    model = make(norm="pre", activation="swiglu")
    parameters = list(model.parameters())
    plain = torch.autograd.grad(forward(model, None).sin().sum(), parameters)
    tapped = torch.autograd.grad(forward(model, lambda name, tensor: tensor).sin().sum(), parameters)
    for left, right in zip(plain, tapped, strict=True):
        close(left, right, 1e-10)


def test_weights_are_shares_of_attention() -> None:
    for variant in VARIANTS:
        weights = {name: tensor for name, tensor in shown(variant).items() if name.endswith(".weights")}
        assert len(weights) == 2 + 3 + 3
        for name, tensor in weights.items():
            assert (tensor >= 0).all(), name
            close(tensor.sum(-1), torch.ones_like(tensor[..., 0]))
            mask = shown(variant)[name.replace("weights", "mask")]
            assert (tensor[~mask] == 0).all(), name
            assert (tensor[mask] > 0).all(), name


def test_weights_are_shown_before_dropout() -> None:
    _, seen = recorded(make(attention_dropout=0.5).train())
    for name, tensor in seen.items():
        if name.endswith(".weights"):
            close(tensor.sum(-1), torch.ones_like(tensor[..., 0]))


def test_numbers_are_what_their_formulas_say() -> None:
    """The table's formulas, applied to the numbers shown, for the second decoder layer's cross-attention and feed-forward."""
    model, seen = make(norm="pre"), shown("pre")
    layer = model.decoder.layers[1]
    at = {name.removeprefix("decoder.layers.1."): tensor for name, tensor in seen.items() if "decoder.layers.1" in name}
    attn = {name.removeprefix("cross_attn."): tensor for name, tensor in at.items() if name.startswith("cross_attn.")}

    def linear(part: str, x: Tensor) -> Tensor:
        module = layer.get_submodule(part)
        assert isinstance(module, nn.Linear)
        return x @ module.weight.detach().T + module.bias.detach()

    def merged(heads: Tensor) -> Tensor:
        return torch.cat(list(heads.unbind(1)), -1)

    close(merged(attn["q_projected"]), linear("cross_attn.query", at["cross_attn_norm.out"]))
    close(merged(attn["k_projected"]), linear("cross_attn.key", seen["encoder.out"]))
    close(merged(attn["v_projected"]), linear("cross_attn.value", seen["encoder.out"]))
    for letter in "qkv":
        close(attn[letter], attn[f"{letter}_projected"], 0.0)
    close(attn["scores"], torch.einsum("bhtk,bhsk->bhts", attn["q"], attn["k"]))
    close(attn["scaled"], attn["scores"] / 12**0.5)
    assert torch.equal(attn["mask"], SOURCE_MASK[:, None, None].expand(B, 2, T, S))
    assert torch.equal(attn["masked"] == -torch.inf, ~attn["mask"])
    close(attn["masked"][attn["mask"]], attn["scaled"][attn["mask"]], 0.0)
    exponentials = attn["masked"].exp()
    close(attn["weights"], exponentials / exponentials.sum(-1, keepdim=True))
    close(attn["z"], torch.einsum("bhts,bhsk->bhtk", attn["weights"], attn["v"]))
    close(attn["concat"], merged(attn["z"]), 0.0)
    close(attn["out"], linear("cross_attn.output", attn["concat"]))
    close(at["cross_attn_residual"], at["self_attn_residual"] + attn["out"])
    close(at["ffn_norm.mean"], at["cross_attn_residual"].mean(-1, keepdim=True))
    deviation = at["cross_attn_residual"] - at["ffn_norm.mean"]
    close(at["ffn_norm.std"], (deviation.square().sum(-1, keepdim=True) / D + 1e-5).sqrt())
    close(at["ffn_norm.normalized"], deviation / at["ffn_norm.std"])
    close(at["ffn.hidden_pre"], linear("feed_forward.hidden", at["ffn_norm.out"]))
    close(at["ffn.hidden"], at["ffn.hidden_pre"].clamp(min=0))
    close(at["ffn.out"], linear("feed_forward.output", at["ffn.hidden"]))
    close(at["out"], at["cross_attn_residual"] + at["ffn.out"], 1e-10)
    close(seen["decoder.embed.scaled"], seen["decoder.embed.tokens"] * D**0.5)
    close(seen["decoder.embed.out"], seen["decoder.embed.scaled"] + seen["decoder.embed.positions"])
    close(seen["decoder.out"], seen["decoder.norm.out"], 0.0)
    close(seen["logits"], seen["decoder.out"] @ model.weight("output").detach().T)
    close(seen["probs"], seen["logits"].exp() / seen["logits"].exp().sum(-1, keepdim=True))


# Editing


def test_a_head_without_its_z_is_a_head_without_its_part_of_the_output_matrix() -> None:
    def remove(name: str, z: Tensor) -> Tensor:
        if name != "encoder.layers.0.self_attn.z":
            return z
        z = z.clone()
        z[:, 1] = 0
        return z

    model, changed = make(), make()
    output = changed.encoder.layers[0].get_submodule("self_attn.output")
    assert isinstance(output, nn.Linear)
    output.weight.data[:, 8:16] = 0  # head 1 of 3, each 8 wide
    edited = forward(model, remove)
    close(edited, forward(changed, None))
    assert not torch.allclose(edited, forward(model, None))


def edit(tensor: Tensor) -> Tensor:
    """Other numbers of the same kind. Softmax and norm see neither a common offset nor (a norm) a common factor."""
    if tensor.dtype == torch.bool:
        return tensor.roll(1, -1)
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(5), dtype=tensor.dtype)
    return tensor + noise


@pytest.mark.parametrize("variant", ["pre", "gated"])
@torch.inference_mode()
def test_every_number_that_is_shown_takes_part(variant: str) -> None:
    """Whatever a tap returns is gone on with: an edit at any name changes the logits. Only "probs" leads nowhere."""
    model = make(**VARIANTS[variant])
    before = forward(model, None)
    without_effect = []
    for name in shown(variant):
        after = forward(model, lambda at, tensor, name=name: edit(tensor) if at == name else tensor)
        if torch.allclose(after, before, rtol=1e-9):
            without_effect.append(name)
    assert without_effect == ["probs"]


def test_steps_can_be_looked_at_and_edited() -> None:
    """The same names step by step, for the new positions; the keys are all of the past."""
    model, seen = make(), {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        seen[name] = tensor
        return tensor

    with torch.inference_mode():
        memory = model.encode(SOURCE, SOURCE_MASK)
        state = model.start(memory)
        model.step(TARGET[:, :3], state)
        logits, _ = model.step(TARGET[:, 3:4], state, tap=keep)
        whole = recorded(model)[1]
        zeroed, _ = model.step(TARGET[:, 4:], state, tap=lambda name, x: x * 0 if name == "logits" else x)
    assert seen["decoder.layers.0.self_attn.weights"].shape == (B, 2, 1, 4)
    for name in ("decoder.embed.out", "decoder.layers.2.out", "logits"):
        # Rows whose mask hides nothing among the first four tokens.
        rows = TARGET_MASK[:, :4].all(1)
        close(seen[name][rows], whole[name][rows, 3:4], 1e-10)
    assert torch.equal(logits, seen["logits"])
    assert (zeroed == 0).all()


# Off


def test_off_means_no_tap_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tap was made, or a name put together")

    model = make()
    monkeypatch.setattr(taps.Tap, "__init__", refuse)
    assert torch.isfinite(forward(model, None)).all()
    with pytest.raises(AssertionError, match="a tap was made"):
        forward(model, lambda name, tensor: tensor)


def nodes(call: Callable[[EncoderDecoder], Tensor]) -> list[tuple[str, str]]:
    """What the compiler sees of a call, in one graph."""
    graphs: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    call(torch.compile(make(norm="pre", activation="swiglu"), backend=keep, fullgraph=True))
    assert len(graphs) == 1
    return [(node.op, str(node.target)) for node in graphs[0].graph.nodes]


def test_off_leaves_nothing_in_the_graph() -> None:
    absent = nodes(lambda model: model(SOURCE, TARGET, source_mask=SOURCE_MASK))
    off = nodes(lambda model: model(SOURCE, TARGET, source_mask=SOURCE_MASK, tap=None))
    looking = nodes(lambda model: model(SOURCE, TARGET, source_mask=SOURCE_MASK, tap=lambda name, tensor: tensor))
    assert absent == off
    assert len(looking) > len(off)


@pytest.mark.parametrize("tap", [None, lambda name, tensor: tensor])
def test_no_tensor_stays_on_a_module(tap: Edit | None) -> None:
    def attributes() -> dict[str, object]:
        return {
            f"{place}.{name}": value
            for place, module in model.named_modules()
            for name, value in vars(module).items()
            if not name.startswith("_")
        }

    def held() -> set[int]:
        return {id(tensor) for tensor in model.state_dict(keep_vars=True).values()} | {id(x) for x in model.buffers()}

    model = make()
    before, tensors = attributes(), held()
    forward(model, tap)
    assert attributes() == before
    assert held() == tensors
    assert not any(isinstance(value, Tensor) for value in before.values())
