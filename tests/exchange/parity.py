"""The same weights in ``transformers`` and here: what every family's test is made of.

Models are built by ``transformers`` at toy size, every parameter random and of order 1, so that a wrong epsilon, activation
form or sign of a bias shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.config import DecodingConfig
from pellucid.decoding.search import search
from pellucid.exchange.family import Described, Family
from pellucid.exchange.mapping import relevant, to_ours, to_theirs
from pellucid.model.build import build
from pellucid.model.positions import SinusoidalPositions
from pellucid.model.transformer import DecoderOnly, Transformer


def randomised(theirs: nn.Module, seed: int = 1) -> nn.Module:
    """The model in float64 and evaluation mode, with such parameters; gains of norms around 1."""
    theirs = theirs.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            gain = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(gain + 0.4 * noise)
    return theirs


class InFloat64:
    """``torch`` for a module of transformers that casts to float32 whatever the model's precision: here to float64.

    Without it gradients would agree to five digits only.
    """

    float32 = float = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def converted(theirs: nn.Module, family: Family) -> tuple[Transformer, Described]:
    """The same model here."""
    config: Any = theirs.config
    architecture = type(theirs).__name__
    copies = tied_names(theirs)
    found = {name: weight for name, weight in theirs.state_dict().items() if name not in copies}
    described = family.settle(family.describe(config.to_dict(), architecture), found)
    pieces = family.pieces(described.model, architecture)
    ours = build(described.model).double().eval()
    for module in ours.modules():
        if isinstance(module, SinusoidalPositions):
            module.initialise()
    ours.load_state_dict(to_ours(pieces, relevant(family, pieces, found, torch.equal), shapes_of(ours), "memory"))
    return ours, described


def shapes_of(ours: Transformer) -> dict[str, tuple[int, ...]]:
    """Of every weight."""
    return {name: tuple(weight.shape) for name, weight in ours.state_dict().items()}


def tied_names(theirs: nn.Module) -> set[str]:
    """Names of theirs that are copies of other weights."""
    return set(getattr(theirs, "all_tied_weights_keys", None) or ())


def worst(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in standard deviations of the expected logits."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


def worst_gradient(ours: Transformer, theirs: nn.Module, family: Family, described: Described) -> float:
    """The largest difference of any parameter's gradient, in standard deviations of that gradient.

    Both models have been through ``backward``.
    """
    pieces = family.pieces(described.model, type(theirs).__name__)
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}
    expected = to_ours(pieces, relevant(family, pieces, gradients, torch.equal), shapes_of(ours), "memory")
    assert expected.keys() == found.keys()
    largest = 0.0
    for name, gradient in found.items():
        assert gradient is not None
        scale = max(float(expected[name].std()), 1e-3 * max(float(other.abs().max()) for other in expected.values()))
        largest = max(largest, float((gradient - expected[name]).abs().max()) / scale)
    return largest


def returned(ours: Transformer, theirs: nn.Module, family: Family, described: Described) -> nn.Module:
    """A new model of their class, made from our settings and our weights alone, whose names must all be there.

    Weights that have gone there and come back must be the same bits.
    """
    architecture = type(theirs).__name__
    pieces, weights = family.pieces(described.model, architecture), ours.state_dict()
    written = to_theirs(pieces, weights)
    again = to_ours(pieces, written, shapes_of(ours), "memory")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    config = type(theirs.config)(**family.settings(described, architecture))  # type: ignore[operator]
    assert family.describe(config.to_dict(), architecture).model == described.model
    model = type(theirs)(config).double().eval()
    found = model.load_state_dict(written, strict=False)
    assert set(found.missing_keys) == tied_names(theirs)
    assert found.unexpected_keys == []
    return model


# Decoders that stand alone: prompts of 7, 3 and 5 tokens.

TOLERANCE = 1e-6  # in standard deviations
LENGTHS, WIDTH = [7, 3, 5], 7
REAL = torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]


def prompts(vocabulary: int) -> Tensor:
    """(3, 7) random ids."""
    return torch.randint(1, vocabulary, (len(LENGTHS), WIDTH), generator=torch.Generator().manual_seed(2))


def to_the_right(values: Tensor) -> Tensor:
    """Rows padded on the right as rows padded on the left, with three more columns."""
    out = values.new_zeros(len(values), WIDTH + 3)
    for row, length in enumerate(LENGTHS):
        out[row, WIDTH + 3 - length :] = values[row, :length]
    return out


def decoder_differences(ours: Transformer, theirs: Any) -> dict[str, float]:
    """How far logits are apart at real tokens, in standard deviations, by the way in which they are computed."""
    assert isinstance(ours, DecoderOnly)
    ids = prompts(theirs.config.vocab_size)
    with torch.no_grad():
        whole = theirs(ids).logits
        alone = torch.cat([theirs(ids[row : row + 1, :length]).logits[0] for row, length in enumerate(LENGTHS)])
        padded = theirs(ids, attention_mask=REAL.long()).logits[REAL]
        left = ours(to_the_right(ids), mask=to_the_right(REAL))[to_the_right(REAL)]
        state, steps = ours.start(ours.encode(ids[:, :2])), []
        for columns in (slice(2, 3), slice(3, 5), slice(5, 7)):
            logits, state = ours.step(ids[:, columns], state)
            steps.append(logits)
        return {
            "unpadded": worst(ours(ids), whole),
            "right-padded": worst(ours(ids, mask=REAL)[REAL], padded),
            "left-padded": worst(left, alone),
            "step by step": worst(torch.cat(steps, 1), whole[:, 2:]),
        }


def with_slip(theirs: Any, family: Family, slip: dict[str, Any]) -> Transformer:
    """The same model here, but for these of its settings."""
    described = family.describe(theirs.config.to_dict(), "")
    slipped = replace(described, model=replace(described.model, **slip))
    return converted(theirs, replace(family, describe=lambda *given: slipped))[0]


def check_decoder_logits(theirs: Any, family: Family) -> None:
    """The same logits, in whichever way they are computed."""
    differences = decoder_differences(converted(theirs, family)[0], theirs)
    assert max(differences.values()) < TOLERANCE, differences


def check_decoder_gradients(theirs: Any, family: Family) -> None:
    """The same gradients of the mean square of the logits."""
    ours, described = converted(theirs, family)
    ids = prompts(theirs.config.vocab_size)
    ours(ids).square().mean().backward()
    theirs(ids).logits.square().mean().backward()
    assert worst_gradient(ours, theirs, family, described) < TOLERANCE


def check_decoder_outputs(theirs: Any, family: Family) -> None:
    """The same outputs, the first of which meets its end."""
    found, expected = decoder_outputs(converted(theirs, family)[0], theirs)
    assert found == expected
    assert len(found[0]) < 9


def check_decoder_returned(theirs: Any, family: Family) -> None:
    """The same bits of the logits after a way there and back."""
    ours, described = converted(theirs, family)
    ids = prompts(theirs.config.vocab_size)
    with torch.no_grad():
        assert torch.equal(returned(ours, theirs, family, described)(ids).logits, theirs(ids).logits)


def decoder_outputs(ours: Transformer, theirs: Any, new: int = 9) -> tuple[list[list[int]], list[list[int]]]:
    """What ours and theirs write, greedily, after each prompt: padded on the left in one batch here, one by one there.

    The end token is one that the first prompt's output holds in its middle.
    """
    assert isinstance(ours, DecoderOnly)
    ids = prompts(theirs.config.vocab_size)

    def written(row: int, end: int | None) -> list[int]:
        prompt = ids[row : row + 1, : LENGTHS[row]]
        settings = {"max_new_tokens": new, "do_sample": False, "num_beams": 1, "eos_token_id": end, "pad_token_id": 0}
        found = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
        output: list[int] = found[0, LENGTHS[row] :].tolist()
        return output[:-1] if output[-1] == end else output

    end = written(0, None)[new // 2]
    moved, real = to_the_right(ids), to_the_right(REAL)
    limits = torch.full((len(LENGTHS),), new)
    config = DecodingConfig(beams=1)
    found = search(ours, moved[:, :-1], real[:, :-1], config, start=moved[:, -1], end=end, limits=limits)
    return [list(best[0].ids) for best in found], [written(row, end) for row in range(len(LENGTHS))]
