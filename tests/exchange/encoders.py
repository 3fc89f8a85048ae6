"""What the tests of the encoder-only families share: the same model there and here, in files, and what is asked of both.

Everything goes through files that ``transformers`` wrote, since some of its weights have other names in memory. All sizes
are distinct: B 4 rows, S 7 positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from parity import randomised, worst
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pellucid.exchange.family import Described, Family
from pellucid.exchange.mapping import relevant, to_ours, to_theirs
from pellucid.model.build import build
from pellucid.model.transformer import EncoderOnly

B, S = 4, 7
LENGTHS = (7, 3, 5, 1)  # of the rows, where they are padded
TOLERANCE = 1e-6  # in standard deviations of the logits


def made(cls: Any, config: Any) -> Any:
    """A model of theirs, random, in float64."""
    return randomised(cls(config))


def read(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and weights."""
    settings: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return settings, load_file(directory / "model.safetensors")


def here(theirs: Any, family: Family, directory: Path, **changes: Any) -> tuple[EncoderOnly, Described]:
    """The same model, from the files that they write; ``changes`` falsify config.json."""
    theirs.save_pretrained(directory)
    settings, weights = read(directory)
    architecture = type(theirs).__name__
    assert settings["architectures"] == [architecture]
    assert settings["model_type"] == family.name
    described = family.describe({**settings, **changes}, architecture)
    model = build(described.model).double().eval()
    assert isinstance(model, EncoderOnly)
    model.load_state_dict(_mapped(family, described, architecture, weights, model))
    return model, described


def _mapped(
    family: Family, described: Described, architecture: str, weights: dict[str, Tensor], model: nn.Module
) -> dict[str, Tensor]:
    pieces = family.pieces(described.model, architecture)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    return to_ours(pieces, relevant(family, pieces, weights, torch.equal), shapes, "memory")


def texts(vocabulary: int, first: int = 3) -> Tensor:
    """(B, S) ids, none of them below ``first``: their embedding of a padding token has no gradient."""
    return torch.randint(first, vocabulary, (B, S), generator=torch.Generator().manual_seed(5))


def right_padded() -> Tensor:
    """(B, S) True for real tokens."""
    return torch.arange(S) < torch.tensor(LENGTHS)[:, None]


@torch.no_grad()
def check_texts(theirs: Any, ours: EncoderOnly, *, pad: int, types: int = 0) -> None:
    """The same logits without padding and with padding on either side, of a head that pools or not."""
    ids = texts(theirs.config.vocab_size)
    pooled = ours.head.pool is not None
    given: list[Tensor | None] = [None]
    if types:
        given.append(torch.randint(0, types, (B, S), generator=torch.Generator().manual_seed(6)))
    for kinds in given:
        expected = _logits(theirs, ids, kinds)
        assert worst(ours(ids, types=kinds), expected) < TOLERANCE

        real = right_padded()
        padded = torch.where(real, ids, pad)
        expected = _logits(theirs, padded, kinds, attention_mask=real.long())
        found = ours(padded, source_mask=real, types=kinds)
        assert worst(found if pooled else found[real], expected if pooled else expected[real]) < TOLERANCE

        for row, length in enumerate(LENGTHS):  # theirs counts positions from the left edge: it is asked without padding
            text, kind = ids[row, :length], None if kinds is None else kinds[row, :length]
            expected = _logits(theirs, text[None], None if kind is None else kind[None])
            left = torch.cat((torch.full((S - length,), pad), text))[None]
            left_kinds = None if kind is None else torch.cat((torch.zeros(S - length, dtype=torch.long), kind))[None]
            mask = torch.arange(S)[None] >= S - length
            found = ours(left, source_mask=mask, types=left_kinds)
            assert worst(found if pooled else found[mask][None], expected) < TOLERANCE


def _logits(theirs: Any, ids: Tensor, types: Tensor | None, **more: Tensor) -> Tensor:
    if types is not None:
        more["token_type_ids"] = types
    logits: Tensor = theirs(input_ids=ids, **more).logits
    return logits


def check_read(ours: EncoderOnly, family: Family, described: Described, architecture: str, weights: dict[str, Tensor]) -> None:
    """Weights under these names are read as those of our model, bit for bit."""
    found = _mapped(family, described, architecture, weights, ours)
    for name, weight in ours.state_dict().items():
        assert torch.equal(found[name], weight), name


@torch.no_grad()
def difference(theirs: Any, ours: EncoderOnly) -> float:
    """Of the logits of one unpadded batch, in standard deviations."""
    ids = texts(theirs.config.vocab_size)
    return worst(ours(ids), theirs(input_ids=ids).logits)


def check_gradients(theirs: Any, ours: EncoderOnly, family: Family, directory: Path, *, pad: int) -> None:
    """The same gradient of every weight, for a padded batch."""
    real = right_padded()
    ids = torch.where(real, texts(theirs.config.vocab_size), pad)
    _backward(theirs(input_ids=ids, attention_mask=real.long()).logits, real)
    _backward(ours(ids, source_mask=real), real)
    compare_gradients(theirs, ours, family, directory)


def _backward(logits: Tensor, real: Tensor) -> None:
    chosen = logits if logits.ndim == 2 else logits[real]
    chosen.square().mean().backward()  # type: ignore[no-untyped-call]


def compare_gradients(theirs: Any, ours: EncoderOnly, family: Family, directory: Path) -> None:
    """Their gradients, written to a file in place of the weights and read as ours, are ours."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    theirs.save_pretrained(directory)
    settings, weights = read(directory)
    architecture = type(theirs).__name__
    expected = _mapped(family, family.describe(settings, architecture), architecture, weights, ours)
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient is not None, name
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


def check_written(theirs: Any, family: Family, directory: Path, inputs: dict[str, Tensor]) -> None:
    """Ours, written as theirs: read by their class without a name too many or too few, and by us, bit for bit."""
    ours, described = here(theirs, family, directory)
    architecture = type(theirs).__name__
    settings = family.settings(described, architecture)
    assert family.describe(settings, architecture) == described

    weights = to_theirs(family.pieces(described.model, architecture), ours.state_dict())
    again = directory / "again"
    again.mkdir()
    save_file(weights, again / "model.safetensors", metadata={"format": "pt"})
    whole = {"architectures": [architecture], "model_type": family.name, **settings}
    (again / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    read_back, report = type(theirs).from_pretrained(again, dtype=torch.float64, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        assert torch.equal(read_back(**inputs).logits, theirs(**inputs).logits)

    second, _ = here(read_back, family, directory / "third")
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
