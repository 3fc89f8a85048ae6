"""The three architectures with every position scheme: padding on either side, caches, causality, heads, tied matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from examples import CONFIG, B, D, V, close, ids, randomised, real
from torch import Tensor

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, PictureConfig, StackConfig
from pellucid.model.build import build
from pellucid.model.residual import RMSNorm
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly, Transformer

SCHEMES = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
LENGTHS, L = [6, 3, 5, 1], 6
TOKENS, REAL = ids(B, L), real(LENGTHS, L)
CPU = torch.device("cpu")


def config(architecture: str, **changes: Any) -> ModelConfig:
    stack = StackConfig(n_layers=2, n_heads=4, n_kv_heads=2, d_head=6, d_ff=20)
    return replace(CONFIG, **{"architecture": architecture, "encoder": stack, "decoder": stack, "norm": "pre", **changes})


def make(architecture: str, **changes: Any) -> Transformer:
    return randomised(build(config(architecture, **changes)))


def moved(tokens: Tensor, mask: Tensor, left: int, right: int) -> tuple[Tensor, Tensor]:
    """The same sequences with padding on both sides: each row's real tokens end ``right`` columns before the end."""
    lengths = mask.sum(1)
    width = int(lengths.max()) + left + right
    out, real = torch.zeros(len(tokens), width, dtype=torch.int64), torch.zeros(len(tokens), width, dtype=torch.bool)
    for row, length in enumerate(lengths.tolist()):
        place = slice(width - right - length, width - right)
        out[row, place], real[row, place] = tokens[row][mask[row]], True
    return out, real


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_padding_on_either_side_changes_no_logit(architecture: str, scheme: str) -> None:
    model = make(architecture, positions=scheme)
    mask = {"encoder": "source_mask", "decoder": "mask"}[architecture]
    alone = [model(TOKENS[row : row + 1, :length])[0] for row, length in enumerate(LENGTHS)]
    expected = torch.cat(alone)
    close(model(TOKENS, **{mask: REAL})[REAL], expected, 1e-11)
    for left, right in ((1, 0), (7, 0), (2, 3)):
        tokens, real_ones = moved(TOKENS, REAL, left, right)
        close(model(tokens, **{mask: real_ones})[real_ones], expected, 1e-11)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_left_padding_of_both_sides_of_an_encoder_decoder(scheme: str) -> None:
    model = make("encoder-decoder", positions=scheme)
    source, target = ids(B, L, seed=5), ids(B, L, seed=6)
    expected = model(source, target, source_mask=REAL, target_mask=REAL)[REAL]
    left, left_mask = moved(source, REAL, 2, 0)
    right, right_mask = moved(target, REAL, 3, 1)
    close(model(left, right, source_mask=left_mask, target_mask=right_mask)[right_mask], expected, 1e-11)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_steps_after_a_padded_prompt_equal_one_pass(scheme: str, side: str) -> None:
    """Prompts of 6, 3, 5 and 1 tokens in one batch, then 4 tokens more in steps of 1, 2 and 1, with 3 beams for each."""
    model = make("decoder", positions=scheme)
    assert isinstance(model, DecoderOnly)
    prompts, mask = moved(TOKENS, REAL, 2, 0) if side == "left" else (TOKENS, REAL)
    more = ids(B * 3, 4, seed=8)
    state = model.start(model.encode(prompts, mask), beams=3)
    got = []
    for step in (more[:, :1], more[:, 1:3], more[:, 3:]):
        logits, state = model.step(step, state)
        got.append(logits)
    for row in range(B * 3):
        whole = torch.cat((TOKENS[row // 3][REAL[row // 3]], more[row]))
        close(torch.cat(got, 1)[row], model(whole[None])[0, -4:], 1e-11)


def test_an_empty_prompt_is_no_prompt() -> None:
    model = make("decoder", positions="rotary")
    assert isinstance(model, DecoderOnly)
    state = model.start(model.encode(TOKENS[:, :0], REAL[:, :0]))
    logits, state = model.step(TOKENS, state)
    close(logits, model(TOKENS), 1e-12)
    assert (state.length, state.rows) == (6, B)


def test_rows_of_a_prompt_are_chosen_and_cut_back() -> None:
    model = make("decoder", positions="alibi")
    assert isinstance(model, DecoderOnly)
    state = model.start(model.encode(TOKENS, REAL))
    more = ids(B, 3, seed=9)
    _, state = model.step(more, state)
    state.truncate(L + 1)
    state.select(torch.tensor([2, 0]))
    again, state = model.step(more[[2, 0], 1:], state)
    for place, row in enumerate((2, 0)):
        whole = torch.cat((TOKENS[row][REAL[row]], more[row]))
        close(again[place], model(whole[None])[0, -2:], 1e-11)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_future_changes_nothing_earlier(scheme: str) -> None:
    model = make("decoder", positions=scheme)
    other = TOKENS.clone()
    other[:, 4:] = (other[:, 4:] - 3) % (V - 4) + 4
    before, after = model(TOKENS), model(other)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4], after[:, 4]).all(-1).any()


@pytest.mark.parametrize("scheme", ["learned", "rotary", "alibi", "relative"])
@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_order_counts(architecture: str, scheme: str) -> None:
    model = make(architecture, positions=scheme)
    swapped = TOKENS[:1, [0, 2, 1, 3, 4, 5]]
    assert not torch.allclose(model(TOKENS[:1])[:, -1], model(swapped)[:, -1])


def test_an_encoder_without_positions_sees_a_set() -> None:
    model = make("encoder", positions="none")
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    close(model(TOKENS[:, order]), model(TOKENS)[:, order], 1e-11)


# Heads


def heads(pool: str, **changes: Any) -> tuple[EncoderOnly, HeadConfig]:
    head = HeadConfig(pool=pool, bias=True, **changes)  # type: ignore[arg-type]
    model = make("encoder", tie="none", head=head, target_vocabulary=5)
    assert isinstance(model, EncoderOnly)
    return model, head


@pytest.mark.parametrize("left", [0, 2])
def test_a_class_is_read_from_the_first_real_token(left: int) -> None:
    model, _ = heads("class")
    tokens, mask = moved(TOKENS, REAL, left, 0) if left else (TOKENS, REAL)
    vectors = model.encode(TOKENS, REAL).states[-1][:, 0]  # (B, D)
    expected = vectors @ model.weight("output").T + model.head.bias
    close(model(tokens, source_mask=mask), expected, 1e-11)


def test_the_mean_is_of_real_tokens() -> None:
    model, _ = heads("mean", transform="dense", activation="tanh", scale=True)
    states = model.encode(TOKENS, REAL).states[-1]
    mean = torch.stack([states[row, :length].mean(0) for row, length in enumerate(LENGTHS)])
    dense = model.head.transform.dense  # type: ignore[union-attr]
    vectors = torch.tanh(dense(mean)) * D**-0.5
    close(model(TOKENS, source_mask=REAL), vectors @ model.weight("output").T + model.head.bias, 1e-11)


def test_a_transform_with_a_norm_before_the_vocabulary() -> None:
    model = make("encoder", head=HeadConfig(transform="norm", activation="relu"))
    states = model.encode(TOKENS).states[-1]  # type: ignore[operator]
    transform = model.head.transform
    assert transform is not None
    assert transform.norm is not None
    vectors = transform.norm(torch.relu(transform.dense(states)))
    close(model(TOKENS), vectors @ model.weight("source").T, 1e-11)


def test_a_readout_receives_features_matrix_and_bias() -> None:
    model, _ = heads("mean")

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert weight is model.weight("output")
        assert bias is model.head.bias
        return x @ weight.T + bias

    close(model(TOKENS, source_mask=REAL, readout=readout), model(TOKENS, source_mask=REAL), 1e-12)


# Parts


def test_rms_norm_by_its_definition() -> None:
    norm = RMSNorm(5, 0.3).double()
    norm.weight.data = torch.arange(1.0, 6.0, dtype=torch.float64)
    x = torch.tensor([[1.0, -2.0, 3.0, 0.0, 2.0]], dtype=torch.float64)
    # The mean square is 18 / 5.
    expected = x / (18 / 5 + 0.3) ** 0.5 * torch.arange(1.0, 6.0, dtype=torch.float64)
    close(norm(x), expected)


def test_pictures_to_text() -> None:
    picture = PictureConfig(patch=3, height=6, width=9, channels=3)
    model = make("encoder-decoder", picture=picture, positions="learned")
    assert isinstance(model, EncoderDecoder)
    pixels = torch.randn(B, 3, 6, 9, dtype=torch.float64)
    memory = model.encode(pixels)
    assert memory.states[-1].shape == (B, 6, D)
    _, state = model.step(TOKENS[:, :4], model.start(memory))
    logits, _ = model.step(TOKENS[:, 4:], state)
    close(logits, model(pixels, TOKENS)[:, 4:], 1e-11)
    assert set(model.roles) == {"target", "output"}


@pytest.mark.parametrize(
    ("tie", "expected"),
    [("all", 1), ("decoder", 2), ("embeddings", 2), ("none", 3)],
)
def test_ties_of_an_encoder_decoder(tie: str, expected: int) -> None:
    model = make("encoder-decoder", tie=tie, embedding=EmbeddingConfig(scale=False))
    assert len(model.weights) == expected
    same = model.weight("source") is model.weight("target")
    assert same == (tie in ("all", "embeddings"))
    assert (model.weight("target") is model.weight("output")) == (tie in ("all", "decoder"))
