"""The whole model: what may depend on what, padding, wanted positions, layers that read earlier layers, compilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from examples import CONFIG, SOURCE, SOURCE_MASK, TARGET, TARGET_MASK, B, D, S, T, V, close, ids, make
from torch import Tensor, nn

from pellucid.model.masks import Mask
from pellucid.model.positions import position_ids
from pellucid.model.transformer import EncoderDecoder

VARIANTS: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"norm": "pre"},
    "learned": {"positions": "learned"},
    "additive": {"attention": "additive", "activation": "swiglu", "bias": False},
}


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return make(**VARIANTS[request.param])


def test_logits_have_a_number_for_each_entry_of_the_target_vocabulary() -> None:
    model = make(tie="none", target_vocabulary=19)
    assert model(SOURCE, TARGET).shape == (B, T, 19)
    assert [tuple(state.shape) for state in model.encode(SOURCE).states] == [(B, S, D)] * 2


def test_encode_and_decode_are_forward_in_two_parts(model: EncoderDecoder) -> None:
    memory = model.encode(SOURCE, SOURCE_MASK)
    assert memory.mask is SOURCE_MASK
    logits = model.decode(TARGET, memory, TARGET_MASK)
    assert torch.equal(logits, model(SOURCE, TARGET, source_mask=SOURCE_MASK, target_mask=TARGET_MASK))


# Causality


@pytest.mark.parametrize("position", range(T - 1))
def test_the_future_changes_nothing_earlier(model: EncoderDecoder, position: int) -> None:
    later = TARGET.clone()
    later[:, position + 1 :] = (TARGET[:, position + 1 :] - 3) % (V - 4) + 4
    before, after = model(SOURCE, TARGET), model(SOURCE, later)
    assert torch.equal(before[:, : position + 1], after[:, : position + 1])
    assert not (before == after)[:, position + 1 :].any()


@pytest.mark.parametrize("position", range(T - 1))
def test_no_gradient_reaches_a_later_token(model: EncoderDecoder, position: int) -> None:
    embedded: list[Tensor] = []

    def as_leaf(module: nn.Module, arguments: object, out: Tensor) -> Tensor:
        embedded.append(out.detach().requires_grad_())
        return embedded[0]

    model.decoder.embed.register_forward_hook(as_leaf)
    model(SOURCE, TARGET)[:, position].square().sum().backward()
    gradient = embedded[0].grad
    assert gradient is not None
    assert (gradient[:, position + 1 :] == 0).all()
    assert (gradient[:, : position + 1].abs().sum(-1) > 0).all()


def test_one_masked_pass_has_the_gradients_of_all_its_prefixes(model: EncoderDecoder) -> None:
    """Teacher forcing: T passes over ever longer prefixes, each judged at its last position, in one."""
    weights = torch.randn(B, T, V, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    parameters = list(model.parameters())
    at_once = torch.autograd.grad((model(SOURCE, TARGET) * weights).sum(), parameters)
    prefixes = [(model(SOURCE, TARGET[:, : length + 1])[:, -1] * weights[:, length]).sum() for length in range(T)]
    one_by_one = torch.autograd.grad(torch.stack(prefixes).sum(), parameters)
    for left, right in zip(at_once, one_by_one, strict=True):
        close(left, right, 1e-10)


# Padding


def padded(rows: list[Tensor], side: str, width: int, filler: int) -> tuple[Tensor, Tensor]:
    """Sequences of several lengths as one tensor with padding on one side, and its mask."""
    out, mask = torch.full((len(rows), width), filler), torch.zeros(len(rows), width, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if side == "left" else slice(0, len(tokens))
        out[row, place], mask[row, place] = tokens, True
    return out, mask


@pytest.mark.parametrize("filler", [0, 9])
@pytest.mark.parametrize(("side", "more"), [("left", 0), ("left", 1), ("left", 7), ("right", 3)])
def test_padding_on_either_side_changes_nothing(model: EncoderDecoder, side: str, more: int, filler: int) -> None:
    """Sentences of several lengths in one batch, on both sides of the model, each against itself alone and unpadded."""
    sources = [ids(1, length, seed=length)[0] for length in (6, 2, 1, 4)]
    targets = [ids(1, length, seed=length)[0] for length in (3, 5, 2, 1)]
    source, source_mask = padded(sources, side, 6 + more, filler)
    target, target_mask = padded(targets, side, 5 + more, filler)
    together = model(source, target, source_mask=source_mask, target_mask=target_mask)
    assert torch.isfinite(together).all()
    for row in range(4):
        alone = model(sources[row][None], targets[row][None])
        close(together[row, target_mask[row]][None], alone, 1e-10)


def test_padding_to_the_right_of_the_target_needs_no_mask(model: EncoderDecoder) -> None:
    with_mask = model(SOURCE, TARGET, target_mask=TARGET_MASK)
    close(model(SOURCE, TARGET)[TARGET_MASK], with_mask[TARGET_MASK])


def test_a_source_of_nothing_but_padding_hurts_nobody(model: EncoderDecoder) -> None:
    mask = SOURCE_MASK.clone()
    mask[1] = False
    logits = model(SOURCE, TARGET, source_mask=mask)
    assert torch.isfinite(logits).all()
    logits.square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)
    others = [0, 2, 3]
    close(logits[others], model(SOURCE[others], TARGET[others], source_mask=SOURCE_MASK[others]), 1e-10)


def test_a_token_counts_where_the_mask_is_true_and_only_there() -> None:
    model = make()
    before = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    for row in range(B):
        for position in range(S):
            changed = SOURCE.clone()
            changed[row, position] = (changed[row, position] - 3) % (V - 4) + 4
            same = (model(changed, TARGET, source_mask=SOURCE_MASK) == before).all(-1).all(-1)  # (B,)
            assert same.tolist() == [other != row or not SOURCE_MASK[row, position].item() for other in range(B)]


# The output


def test_logits_of_the_wanted_positions_alone() -> None:
    model, wanted = make(), TARGET_MASK
    whole = model(SOURCE, TARGET)
    some = model(SOURCE, TARGET, wanted=wanted)
    assert some.shape == (4 + 5 + 2 + 3, V)
    close(some, whole[wanted])


def test_a_head_receives_the_wanted_vectors_and_the_output_matrix() -> None:
    model = make(tie="none")

    def loss(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert weight is model.weight("output")
        assert bias is None
        assert x.shape == (4 + 5 + 2 + 3, D)
        return (x @ weight.T).square().sum()

    whole = model(SOURCE, TARGET)[TARGET_MASK]
    close(model(SOURCE, TARGET, wanted=TARGET_MASK, readout=loss), whole.square().sum())


# Layers


@pytest.mark.parametrize("reads", [(0, 1, 0), (1, 1, 1), None])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_each_decoder_layer_reads_the_encoder_layer_that_it_is_told_to(norm: str, reads: tuple[int, ...] | None) -> None:
    """Against the boxes put together by hand; without a word all read the last (with its norm, where it has one)."""
    stack = type(CONFIG.decoder)(n_layers=3, n_heads=2, d_ff=16, reads=reads)
    model = make(norm=norm, decoder=stack)
    x = model.encoder.embed(SOURCE, model.weight("source"), model.encoder.positions.added(position_ids(None, S, SOURCE.device)))
    mask = Mask(SOURCE_MASK).resolve(S, S, like=x)
    states = []
    for layer in model.encoder.layers:
        x = layer(x, mask)
        states.append(x)
    if model.encoder.norm is not None:
        states[-1] = model.encoder.norm(x)
    x = model.decoder.embed(TARGET, model.weight("target"), model.decoder.positions.added(position_ids(None, T, TARGET.device)))
    causal = Mask(causal=True).resolve(T, T, like=x)
    memory_mask = Mask(SOURCE_MASK).resolve(T, S, like=x)
    for layer, read in zip(model.decoder.layers, reads or (1, 1, 1), strict=True):
        x = layer(x, causal, memory=layer.cross_attn.project(states[read]), memory_mask=memory_mask)
    if model.decoder.norm is not None:
        x = model.decoder.norm(x)
    close(model(SOURCE, TARGET, source_mask=SOURCE_MASK), x @ model.weight("output").T)


def test_heads_and_widths_of_each_layer() -> None:
    stack = type(CONFIG.encoder)(n_layers=2, n_heads=(2, 4), d_ff=(10, 30))
    model = make(encoder=stack)
    shapes = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        shapes[name] = tuple(tensor.shape)
        return tensor

    model(SOURCE, TARGET, tap=keep)
    assert shapes["encoder.layers.0.self_attn.q"] == (B, 2, S, 12)
    assert shapes["encoder.layers.1.self_attn.q"] == (B, 4, S, 6)
    assert shapes["encoder.layers.0.ffn.hidden"] == (B, S, 10)
    assert shapes["encoder.layers.1.ffn.hidden"] == (B, S, 30)


def test_the_encoder_sees_no_order_without_positions() -> None:
    """Self-attention alone is permutation-equivariant; with positions it is not."""
    model, order = make(), torch.tensor([2, 0, 6, 5, 1, 3, 4])

    def moves_along() -> bool:
        return torch.allclose(model.encode(SOURCE[:, order]).states[-1], model.encode(SOURCE).states[-1][:, order])

    assert not moves_along()
    model.encoder.positions.table.zero_()
    assert moves_along()


# Compilation


def test_the_forward_compiles_to_one_graph() -> None:
    """``fullgraph`` raises where Python has to step in between. Dropout's noise comes from elsewhere then, but it is there."""
    torch.compiler.reset()
    model = make(dropout=0.2, attention_dropout=0.1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    expected = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    close(compiled(SOURCE, TARGET, source_mask=SOURCE_MASK), expected)
    model.train()
    noisy = [compiled(SOURCE, TARGET, source_mask=SOURCE_MASK) for _ in range(2)]
    assert not any(torch.allclose(left, right) for left, right in ((noisy[0], noisy[1]), (noisy[0], expected)))
