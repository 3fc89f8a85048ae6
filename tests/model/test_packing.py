"""Training without padding: the same gradients, of fewer computed positions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.config import StackConfig
from pellucid.model.packing import Packing, behind
from tests.model.examples import SOURCE, SOURCE_MASK, TARGET, TARGET_MASK, close, make, real

VARIANTS: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"norm": "pre"},
    "rotary": {"positions": "rotary"},
    "relative": {"positions": "relative"},
    "alibi": {"positions": "alibi"},
    "several layers read": {"decoder": StackConfig(n_layers=3, n_heads=2, d_ff=16, reads=(0, 1, 0))},
}


def gradients(changes: dict[str, Any], *, packed: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], set[int]]:
    """Of a loss on the real positions, and how many positions the feed-forwards were given."""
    model = make(dropout=0.0, **changes).train()
    model.requires_grad_(True)
    seen = set()
    for stack in (model.encoder, model.decoder):
        for layer in stack.layers:
            layer.feed_forward.register_forward_pre_hook(lambda _, given: seen.add(given[0].shape[:-1].numel()))
    with monkeypatch.context() as patch:
        if not packed:
            patch.setattr(Packing, "of", lambda real: None)
        logits = model(SOURCE, TARGET, source_mask=SOURCE_MASK, target_mask=TARGET_MASK, wanted=TARGET_MASK)
    return list(torch.autograd.grad(logits.sin().sum(), list(model.parameters()))), seen


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_those_of_the_padded_batch(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    padded, all_positions = gradients(VARIANTS[variant], packed=False, monkeypatch=monkeypatch)
    packed, real_positions = gradients(VARIANTS[variant], packed=True, monkeypatch=monkeypatch)
    for left, right in zip(packed, padded, strict=True):
        close(left, right, 1e-10)
    assert all_positions == {SOURCE.numel(), TARGET.numel()}
    assert real_positions == {int(SOURCE_MASK.sum()), int(TARGET_MASK.sum())}


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_recomputed_gradients_are_those_of_what_was_kept(norm: str) -> None:
    """Dropout falls on the same numbers when a block is computed again."""
    found = []
    for recompute in (False, True):
        model = make(norm=norm, dropout=0.3, attention_dropout=0.2).train()
        model.encoder.recompute = model.decoder.recompute = recompute
        calls = []
        model.encoder.layers[0].feed_forward.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(4)
        logits = model(SOURCE, TARGET, source_mask=SOURCE_MASK, target_mask=TARGET_MASK, wanted=TARGET_MASK)
        found.append(torch.autograd.grad(logits.sin().sum(), list(model.parameters())))
        assert len(calls) == (2 if recompute else 1)
    for left, right in zip(*found, strict=True):
        close(left, right)


def test_there_and_back() -> None:
    packing = Packing(SOURCE_MASK)
    x = torch.randn(*SOURCE_MASK.shape, 3)
    packed = packing.pack(x)
    assert torch.equal(packed, x[SOURCE_MASK])
    padded = packing.pad(packed)
    assert padded.shape == x.shape
    assert torch.equal(padded[SOURCE_MASK], x[SOURCE_MASK])


def test_padding_in_front_of_the_target_stays() -> None:
    """A causal mask does not hide it, so that it has to be told apart inside attention."""
    in_front = TARGET_MASK.flip(1)
    assert behind(TARGET_MASK)
    assert not behind(in_front)
    model = make(dropout=0.0)
    expected = model(SOURCE, TARGET, target_mask=in_front, wanted=in_front)
    close(model.train()(SOURCE, TARGET, target_mask=in_front, wanted=in_front), expected)


@pytest.mark.parametrize(("lengths", "pays"), [([20] * 20, False), ([20] * 19 + [19], False), ([20, 1], True), ([0, 0], False)])
def test_only_where_there_is_much_padding(lengths: list[int], pays: bool) -> None:
    assert (Packing.of(real(lengths, 20)) is not None) == pays
    assert Packing.of(None) is None


def test_not_while_a_graph_is_recorded() -> None:
    found = []

    def of(mask: Tensor) -> Tensor:
        found.append(Packing.of(mask))
        return mask + 1

    torch.compile(of, backend="eager", fullgraph=False)(real([20, 1], 20))
    assert found == [None]
