"""Attention: equation 1 and the heads against loops over single numbers, and the promises about masks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from examples import NO_DROPOUT, close
from torch import Tensor, nn

from pellucid.base.taps import Tap
from pellucid.model import attention
from pellucid.model.attention import FEW, LONG, WIDE, Additive, DotProduct, MultiHeadAttention, Score, attend, attend_in_steps
from pellucid.model.dropout import Dropout
from pellucid.model.masks import Mask, ResolvedMask

B, H, T, S, K = 2, 3, 4, 5, 6  # batch, heads, queries, keys, width of a head
KEYS = torch.tensor([[True, True, False, True, False], [False, True, True, True, True]])
MASKS = {"none": None, "padding": Mask(KEYS), "causal": Mask(causal=True), "both": Mask(KEYS, causal=True)}
SCORES: dict[str, Callable[[int, int], Score]] = {"dot": lambda _, width: DotProduct(width), "additive": Additive}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scorer(kind: str, heads: int = H, width: int = K) -> Score:
    score = SCORES[kind](heads, width)
    for parameter in score.parameters():
        parameter.data = numbers(*parameter.shape, seed=9)
    return score


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return numbers(B, H, T, K, seed=1), numbers(B, H, S, K, seed=2), numbers(B, H, S, K, seed=3)


def resolved(kind: str) -> ResolvedMask | None:
    mask = MASKS[kind]
    return None if mask is None else mask.resolve(T, S, like=numbers(1))


def equation_1(query: Tensor, key: Tensor, value: Tensor, score: Callable[..., float], allowed: Tensor) -> Tensor:
    """Softmax of the scores of one query over the keys it may see, and the mean of their values: number by number."""
    z = np.zeros((B, H, T, K))
    for b, h, t in np.ndindex(B, H, T):
        seen = [s for s in range(S) if allowed[b, h, t, s]]
        exponentials = [math.exp(score(query[b, h, t].numpy(), key[b, h, s].numpy(), h)) for s in seen]
        for weight, s in zip(exponentials, seen, strict=True):
            z[b, h, t] += weight / sum(exponentials) * value[b, h, s].numpy()
    return torch.from_numpy(z)


def untapped(name: str, tensor: Tensor) -> Tensor:
    return tensor


def test_one_query_by_hand() -> None:
    # d_head 2: the scores (sqrt(2) ln 3, 0) / sqrt(2) = (ln 3, 0) give the weights (3/4, 1/4); of 4 and 8 that makes 5.
    query = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    key = torch.tensor([[[[math.sqrt(2) * math.log(3), 7.0], [0.0, -7.0]]]], dtype=torch.float64)
    value = torch.tensor([[[[4.0, -4.0], [8.0, -8.0]]]], dtype=torch.float64)
    z = attend(query, key, value, DotProduct(2), None, NO_DROPOUT)
    close(z, torch.tensor([[[[5.0, -5.0]]]], dtype=torch.float64))


@pytest.mark.parametrize("mask", MASKS)
def test_dot_product_is_equation_1(mask: str) -> None:
    rule = resolved(mask)
    allowed = torch.ones(B, H, T, S) if rule is None else rule.allowed.expand(B, H, T, S)

    def score(query: np.ndarray, key: np.ndarray, head: int) -> float:
        return float(sum(query * key)) / math.sqrt(K)

    expected = equation_1(*inputs(), score, allowed)
    close(attend(*inputs(), scorer("dot"), rule, NO_DROPOUT), expected)


def test_additive_is_one_hidden_layer() -> None:
    additive = scorer("additive")
    assert isinstance(additive, Additive)
    weight = additive.weight.detach().numpy()

    def score(query: np.ndarray, key: np.ndarray, head: int) -> float:
        return sum(v * math.tanh(q + k) for v, q, k in zip(weight[head], query, key, strict=True))

    expected = equation_1(*inputs(), score, torch.ones(B, H, T, S))
    close(attend(*inputs(), additive, None, NO_DROPOUT), expected)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", SCORES)
def test_the_fast_form_and_the_definition_agree(kind: str, mask: str) -> None:
    score, rule = scorer(kind), resolved(mask)
    fast, slow = ([x.requires_grad_() for x in inputs()] for _ in range(2))
    z = attend(*fast, score, rule, NO_DROPOUT)
    close(attend_in_steps(*slow, score, rule, NO_DROPOUT, Tap(untapped)), z)
    gradients = torch.autograd.grad(z.square().sum(), fast)
    in_steps = attend_in_steps(*slow, score, rule, NO_DROPOUT, Tap(untapped))
    for left, right in zip(gradients, torch.autograd.grad(in_steps.square().sum(), slow), strict=True):
        close(left, right)


def long_inputs(queries: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = (B, H, queries, K), (B, H, LONG, K), (B, H, LONG, K)
    return [numbers(*shape, seed=seed).to(dtype).requires_grad_() for seed, shape in enumerate(shapes, start=1)]


LONG_KEYS = torch.arange(LONG) < torch.tensor([[LONG - 7], [0]])  # of the second row nothing may be attended to
LONG_MASKS: dict[str, Callable[[int], ResolvedMask | None]] = {
    "none": lambda queries: None,
    "padding": lambda queries: Mask(LONG_KEYS).resolve(queries, LONG, like=numbers(1)),
    "causal": lambda queries: Mask(causal=True).resolve(queries, LONG, like=numbers(1)),
    "both": lambda queries: Mask(LONG_KEYS, causal=True).resolve(queries, LONG, like=numbers(1)),
    "bias": lambda queries: Mask().resolve(queries, LONG, like=numbers(1), bias=numbers(1, H, queries, LONG, seed=4)),
    "all": lambda queries: Mask(LONG_KEYS, causal=True).resolve(
        queries, LONG, like=numbers(1), bias=numbers(1, H, queries, LONG, seed=4)
    ),
}


@pytest.mark.parametrize("queries", [FEW + 1, LONG])
@pytest.mark.parametrize("mask", LONG_MASKS)
def test_the_fused_form_and_the_definition_agree(mask: str, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    score, rule = scorer("dot"), LONG_MASKS[mask](queries)
    fused, slow = long_inputs(queries), long_inputs(queries)
    z = attend(*fused, score, rule, NO_DROPOUT)
    assert len(calls) == 1
    in_steps = attend_in_steps(*slow, score, rule, NO_DROPOUT, Tap(untapped))
    close(z, in_steps)
    gradients = torch.autograd.grad(z.square().sum(), fused)
    for left, right in zip(gradients, torch.autograd.grad(in_steps.square().sum(), slow), strict=True):
        close(left, right)


def test_for_a_few_queries_plain_products_are_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    inputs = long_inputs(FEW)
    close(
        attend(*inputs, scorer("dot"), None, NO_DROPOUT),
        attend_in_steps(*inputs, scorer("dot"), None, NO_DROPOUT, Tap(untapped)),
    )
    assert calls == []


def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each call of torch's fused attention."""
    calls: list[None] = []
    true_one = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: object, **named: object) -> Tensor:
        calls.append(None)
        return true_one(*args, **named)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", counted)
    return calls


def test_what_the_fused_form_cannot_do_or_does_slowly_is_left_to_products(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    causal, dot = Mask(causal=True), scorer("dot")
    attend(*inputs(), dot, resolved("causal"), NO_DROPOUT)  # short
    learned = numbers(1, H, LONG, LONG).requires_grad_()
    attend(*long_inputs(LONG), dot, causal.resolve(LONG, LONG, like=numbers(1), bias=learned), NO_DROPOUT)
    attend(*long_inputs(LONG), dot, None, Dropout(0.5).train())
    attend(*long_inputs(LONG), scorer("additive"), None, NO_DROPOUT)
    attend(*long_inputs(LONG, torch.bfloat16), dot, None, NO_DROPOUT)
    query, key, value = long_inputs(LONG)
    attend(query, key[:, :1], value[:, :1], dot, None, NO_DROPOUT)  # heads that share keys
    assert calls == []
    attend(*long_inputs(LONG), dot, None, Dropout(0.5).eval())
    assert len(calls) == 1


@pytest.mark.parametrize("positions", [WIDE - 1, WIDE, 2 * WIDE + 45])
@pytest.mark.parametrize("kind", SCORES)
def test_causal_attention_in_halves_agrees_with_the_definition(kind: str, positions: int) -> None:
    """And computes less than all scores: the second half of the keys is never shown to the first half of the queries."""
    score, mask = scorer(kind), Mask(causal=True).resolve(positions, positions, like=numbers(1))
    n_kv_heads = 1 if kind == "dot" else H  # shared heads are not for the fused form
    halves, slow = (
        [numbers(B, n, positions, K, seed=n).requires_grad_() for n in (H, n_kv_heads, n_kv_heads)] for _ in range(2)
    )
    computed: list[int] = []
    score.register_forward_hook(lambda module, arguments, scores: computed.append(scores.numel()))
    z = attend(*halves, score, mask, NO_DROPOUT)
    assert (sum(computed) < 0.76 * B * H * positions**2) == (positions >= WIDE)
    in_steps = attend_in_steps(*slow, score, mask, NO_DROPOUT, Tap(untapped))
    close(z, in_steps)
    gradients = torch.autograd.grad(z.square().sum(), halves)
    for left, right in zip(gradients, torch.autograd.grad(in_steps.square().sum(), slow), strict=True):
        close(left, right)


def test_scores_of_unit_vectors_have_variance_one_after_scaling() -> None:
    # A sum of d_head products of independent unit normal numbers has variance d_head. 128 x 128 scores of width 64 estimate
    # it to 2 %; divided by d_model (8 heads of 64) it would be 1 / 8.
    query, key = numbers(1, 1, 128, 64, seed=4), numbers(1, 1, 128, 64, seed=5)
    score = DotProduct(64)
    assert (score(query, key) * score.scale).var().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("steps", [False, True])
def test_a_query_without_any_key_gives_zeros_and_finite_gradients(kind: str, steps: bool) -> None:
    score = scorer(kind)
    keys = torch.stack([torch.zeros(S, dtype=torch.bool), KEYS[1]])
    rule = Mask(keys).resolve(T, S, like=numbers(1))
    tensors = [x.requires_grad_() for x in inputs()]
    z = attend_in_steps(*tensors, score, rule, NO_DROPOUT, Tap(untapped)) if steps else None
    z = attend(*tensors, score, rule, NO_DROPOUT) if z is None else z
    assert torch.equal(z[0], torch.zeros_like(z[0]))
    for gradient in torch.autograd.grad(z.square().sum(), tensors):
        assert torch.isfinite(gradient).all()
        assert torch.equal(gradient[0], torch.zeros_like(gradient[0]))
    alone = [x[1:].detach() for x in tensors]
    close(z[1:], attend(*alone, score, Mask(KEYS[1:]).resolve(T, S, like=numbers(1)), NO_DROPOUT))


def test_a_mask_hides_keys_where_it_is_false_and_only_there() -> None:
    query, key, value = inputs()
    before = attend(query, key, value, scorer("dot"), resolved("padding"), NO_DROPOUT)
    for row, position in np.ndindex(B, S):
        changed = key.clone(), value.clone()
        for tensor in changed:
            tensor[row, :, position] += 1.0
        after = attend(query, *changed, scorer("dot"), resolved("padding"), NO_DROPOUT)
        same = (after == before).all(-1)  # (B, H, T)
        assert same[row].all() if not KEYS[row, position] else not same[row].any()
        assert same[1 - row].all()


def test_as_many_rows_as_heads_do_not_mix_up_a_padding_mask() -> None:
    # B = H = S = 3 lets (B, S) broadcast against (H, T, S) without a word.
    query, key, value = (numbers(3, 3, 3, K, seed=seed) for seed in (6, 7, 8))
    keys = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    together = attend(query, key, value, scorer("dot"), Mask(keys).resolve(3, 3, like=query), NO_DROPOUT)
    for row, length in enumerate((1, 2, 3)):
        alone = (query[row, None], key[row, None, :, :length], value[row, None, :, :length])
        close(together[row, None], attend(*alone, scorer("dot"), None, NO_DROPOUT))


def heads(n_heads: int, width: int) -> MultiHeadAttention:
    """An attention D = n_heads * width wide whose weights and biases are all of order 1."""
    d_model = n_heads * width
    parts = [nn.Linear(d_model, d_model).double() for _ in range(4)]
    for seed, parameter in enumerate(parameter for part in parts for parameter in part.parameters()):
        parameter.data = numbers(*parameter.shape, seed=20 + seed)
    query, key, value, output = parts
    score = scorer("dot", n_heads, width)
    return MultiHeadAttention(
        query=query, key=key, value=value, output=output, score=score, n_heads=n_heads, n_kv_heads=n_heads, dropout=NO_DROPOUT
    )


def test_heads_attend_side_by_side_and_are_mixed() -> None:
    """Section 3.2.2 in numpy: head h uses the h-th block of rows of each projection; W^O mixes the heads side by side."""
    attention = heads(n_heads=3, width=4)
    x, source = numbers(2, 5, 12, seed=30), numbers(2, 7, 12, seed=31)

    def linear(part: nn.Module, of: np.ndarray) -> np.ndarray:
        weight, bias = (parameter.detach().numpy() for parameter in part.parameters())
        return of @ weight.T + bias

    query, key, value = (
        linear(part, of.numpy()) for part, of in ((attention.query, x), (attention.key, source), (attention.value, source))
    )
    side_by_side = np.zeros((2, 5, 12))
    for row, head in np.ndindex(2, 3):
        mine = slice(4 * head, 4 * head + 4)
        weights = np.exp(query[row, :, mine] @ key[row, :, mine].T / math.sqrt(4))
        side_by_side[row, :, mine] = weights / weights.sum(1, keepdims=True) @ value[row, :, mine]
    expected = torch.from_numpy(linear(attention.output, side_by_side))
    close(attention(x, *attention.project(source), None), expected, 1e-10)


def test_self_attention_without_positions_moves_with_its_input() -> None:
    """Permutation-equivariant: the output of a reordered sequence is the reordered output, and not the output itself."""
    attention, order = heads(n_heads=2, width=3), torch.tensor([3, 0, 2, 1])
    x = numbers(1, 4, 6, seed=32)
    out = attention(x, *attention.project(x), None)
    reordered = attention(x[:, order], *attention.project(x[:, order]), None)
    close(reordered, out[:, order], 1e-10)
    assert not torch.allclose(reordered, out)


@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_shared_heads_are_the_same_head_several_times(n_kv_heads: int) -> None:
    """4 query heads share 1 or 2 heads of keys and values: as if each had its own copy, rows of the projection repeated."""
    shared, whole = heads(n_heads=4, width=3), heads(n_heads=4, width=3)
    rows = torch.arange(3 * n_kv_heads).view(n_kv_heads, 3).repeat_interleave(4 // n_kv_heads, 0).flatten()
    for name in ("key", "value"):
        small, large = getattr(shared, name), getattr(whole, name)
        small.weight.data, small.bias.data = small.weight[: 3 * n_kv_heads], small.bias[: 3 * n_kv_heads]
        large.weight.data, large.bias.data = small.weight[rows], small.bias[rows]
    shared.n_kv_heads = n_kv_heads
    x, source = numbers(2, 5, 12, seed=30), numbers(2, 7, 12, seed=31)
    mask = Mask(torch.arange(7) < torch.tensor([[7], [4]])).resolve(5, 7, like=x)
    expected = whole(x, *whole.project(source), mask)
    close(shared(x, *shared.project(source), mask), expected, 1e-12)
    close(shared(x, *shared.project(source), mask, tap=Tap(lambda name, tensor: tensor)), expected, 1e-12)


@pytest.mark.parametrize("masked", [True, False])
def test_a_bias_is_added_to_the_scaled_scores(masked: bool) -> None:
    query, key, value = numbers(1, 2, 3, 4, seed=1), numbers(1, 2, 5, 4, seed=2), numbers(1, 2, 5, 4, seed=3)
    bias, keys = numbers(1, 2, 3, 5, seed=4), torch.tensor([[True, False, True, True, False]])
    scores = query @ key.mT / 2 + bias
    if masked:
        scores = scores.masked_fill(~keys[:, None, None], -math.inf)
    mask = Mask(keys if masked else None).resolve(3, 5, like=query, bias=bias)
    score = DotProduct(4)
    expected = torch.softmax(scores, -1) @ value
    close(attend(query, key, value, score, mask, NO_DROPOUT), expected, 1e-12)
    close(attend_in_steps(query, key, value, score, mask, NO_DROPOUT, Tap(lambda name, tensor: tensor)), expected, 1e-12)
