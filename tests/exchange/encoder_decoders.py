"""An encoder-decoder of ``transformers`` and the same one here: sources of 7, 3 and 5 tokens, targets of 4, 6 and 2.

No id is below 3: the control tokens stay out of the inputs, whose embedding of padding has no gradient there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from parity import converted, shapes_of, worst, worst_gradient
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.base.config import DecodingConfig, ModelConfig
from pellucid.decoding.search import search
from pellucid.exchange.family import Described, Family
from pellucid.exchange.mapping import relevant, to_ours, to_theirs
from pellucid.model.build import build
from pellucid.model.transformer import EncoderDecoder

TOLERANCE = 1e-9  # in standard deviations
SOURCE_LENGTHS, TARGET_LENGTHS = [7, 3, 5], [4, 6, 2]
SOURCE_REAL = torch.arange(7) < torch.tensor(SOURCE_LENGTHS)[:, None]
TARGET_REAL = torch.arange(6) < torch.tensor(TARGET_LENGTHS)[:, None]


def same_model(theirs: nn.Module, family: Family) -> tuple[EncoderDecoder, Described]:
    """Theirs, here."""
    ours, described = converted(theirs, family)
    assert isinstance(ours, EncoderDecoder)
    return ours, described


def with_bias(theirs: Any) -> Any:
    """The model with its bias of the logits, a constant there, as a parameter: it takes random values and has a gradient."""
    bias = theirs.final_logits_bias
    del theirs.final_logits_bias
    theirs.final_logits_bias = nn.Parameter(bias)
    return theirs


def source_ids(vocabulary: int, length: int = 7) -> Tensor:
    """(3, 7) random ids."""
    return torch.randint(3, vocabulary, (3, length), generator=torch.Generator().manual_seed(2))


def target_ids(vocabulary: int, length: int = 6) -> Tensor:
    """(3, 6) random ids."""
    return torch.randint(3, vocabulary, (3, length), generator=torch.Generator().manual_seed(3))


def to_the_right(values: Tensor, lengths: list[int]) -> Tensor:
    """Rows padded on the right as rows padded on the left, with two more columns."""
    width = values.shape[1] + 2
    out = values.new_zeros(len(lengths), width)
    for row, length in enumerate(lengths):
        out[row, width - length :] = values[row, :length]
    return out


def whole(theirs: Any, source: Tensor, target: Tensor, **masks: Tensor) -> Tensor:
    """Their logits of one forward."""
    logits: Tensor = theirs(input_ids=source, decoder_input_ids=target, **masks).logits
    return logits


def vocabularies(ours: EncoderDecoder) -> tuple[int, int]:
    """Of source and target."""
    return len(ours.weight("source")), len(ours.weight("target"))


def differences(ours: EncoderDecoder, theirs: Any) -> dict[str, float]:
    """How far logits are apart at real tokens, in standard deviations, by the way in which they are computed."""
    sizes = vocabularies(ours)
    source, target = source_ids(sizes[0]), target_ids(sizes[1])
    with torch.no_grad():
        plain = whole(theirs, source, target)
        padded = whole(theirs, source, target, attention_mask=SOURCE_REAL.long())
        both = whole(theirs, source, target, attention_mask=SOURCE_REAL.long(), decoder_attention_mask=TARGET_REAL.long())
        rows = [(source[i : i + 1, : SOURCE_LENGTHS[i]], target[i : i + 1, : TARGET_LENGTHS[i]]) for i in range(3)]
        alone = torch.cat([whole(theirs, *row)[0] for row in rows])
        left_mask = to_the_right(TARGET_REAL, TARGET_LENGTHS)
        left = ours(
            to_the_right(source, SOURCE_LENGTHS),
            to_the_right(target, TARGET_LENGTHS),
            source_mask=to_the_right(SOURCE_REAL, SOURCE_LENGTHS),
            target_mask=left_mask,
        )
        right = ours(source, target, source_mask=SOURCE_REAL, target_mask=TARGET_REAL)
        state, steps = ours.start(ours.encode(source, SOURCE_REAL)), []
        for columns in (slice(0, 1), slice(1, 3), slice(3, 6)):
            logits, state = ours.step(target[:, columns], state)
            steps.append(logits)
        return {
            "unpadded": worst(ours(source, target), plain),
            "source right-padded": worst(ours(source, target, source_mask=SOURCE_REAL), padded),
            "right-padded": worst(right[TARGET_REAL], both[TARGET_REAL]),
            "left-padded": worst(left[left_mask], alone),
            "step by step": worst(torch.cat(steps, 1), padded),
        }


def check_logits(theirs: Any, family: Family, tolerance: float = TOLERANCE) -> None:
    """The same logits, in whichever way they are computed."""
    found = differences(same_model(theirs, family)[0], theirs)
    assert max(found.values()) < tolerance, found


def check_gradients(theirs: Any, family: Family) -> None:
    """The same gradients of the mean square of the logits."""
    ours, described = same_model(theirs, family)
    sizes = vocabularies(ours)
    source, target = source_ids(sizes[0]), target_ids(sizes[1])
    ours(source, target, source_mask=SOURCE_REAL).square().mean().backward()
    whole(theirs, source, target, attention_mask=SOURCE_REAL.long()).square().mean().backward()
    assert worst_gradient(ours, theirs, family, described) < TOLERANCE


def lively(theirs: Any) -> Any:
    """The model with weights that let positions speak: random post-norm stacks write one token for ever."""
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "embed_positions" in name:
                parameter.mul_(3.0 if parameter.requires_grad else 1.0)
            elif name.endswith("bias") or any(matrix in name for matrix in ("shared", "embed_tokens", "lm_head")):
                parameter.mul_(0.2)
            elif parameter.ndim == 2:
                parameter.mul_(0.5)
    return theirs


def outputs(ours: EncoderDecoder, theirs: Any, described: Described, new: int = 19) -> tuple[list[list[int]], list[list[int]]]:
    """What ours and theirs write, greedily: sources padded on the left in one batch here, one by one there.

    The end tokens are included. The end token is the one that appears latest when nothing ends an output.
    """
    source, start, pad = source_ids(vocabularies(ours)[0]), described.controls["start"], described.controls["pad"]
    assert start is not None
    theirs.generation_config.forced_eos_token_id = None  # at the limit

    def written(row: int, end: int | None) -> list[int]:
        ids = source[row : row + 1, : SOURCE_LENGTHS[row]]
        controls = {"decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": pad}
        # Their cache has as many layers as the encoder, too few for a deeper decoder.
        settings = {"max_new_tokens": new, "do_sample": False, "num_beams": 1, "use_cache": False, **controls}
        found: list[int] = theirs.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0].tolist()
        assert found[0] == start
        return found[1:]

    free = [written(row, None) for row in range(3)]
    first = {token: output.index(token) for output in free for token in output}
    assert len(first) >= 3, free
    end = max(first, key=lambda token: first[token])
    moved, real = to_the_right(source, SOURCE_LENGTHS), to_the_right(SOURCE_REAL, SOURCE_LENGTHS)
    config, limits = DecodingConfig(beams=1), torch.full((3,), new)
    found = [best[0] for best in search(ours, moved, real, config, start=start, end=end, limits=limits)]
    assert any(best.reason == "end" for best in found)
    complete = [[*best.ids, *[end] * (best.reason == "end")] for best in found]
    return complete, [written(row, end) for row in range(3)]


def check_outputs(theirs: Any, family: Family) -> None:
    """The same outputs."""
    ours, described = same_model(theirs, family)
    found, expected = outputs(ours, theirs, described)
    assert found == expected


def exported(ours: EncoderDecoder, theirs: Any, family: Family, described: Described, directory: Path) -> Any:
    """Their class, loaded from files with our settings and our weights alone; every name must fit.

    Weights that have gone there and come back are the same bits, and so is the description.
    """
    architecture, weights = type(theirs).__name__, ours.state_dict()
    pieces = family.pieces(described.model, architecture)
    written, settings = to_theirs(pieces, weights), family.settings(described, architecture)
    again = to_ours(pieces, relevant(family, pieces, written, torch.equal), shapes_of(ours), "memory")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert family.describe(settings, architecture) == described
    settings |= {"architectures": [architecture], "model_type": family.name}
    (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(written, directory / "model.safetensors", metadata={"format": "pt"})
    model, report = type(theirs).from_pretrained(directory, dtype=torch.float64, output_loading_info=True)
    assert {name: list(found) for name, found in report.items() if found} == {}
    return model.eval()


def check_exported(theirs: Any, family: Family, directory: Path) -> None:
    """The same logits of their class, loaded from what we export."""
    ours, described = same_model(theirs, family)
    back = exported(ours, theirs, family, described, directory)
    sizes = vocabularies(ours)
    source, target = source_ids(sizes[0]), target_ids(sizes[1])
    with torch.no_grad():
        assert worst(whole(back, source, target), whole(theirs, source, target)) < 1e-12


def altered(ours: EncoderDecoder, model: ModelConfig) -> EncoderDecoder:
    """The same weights in a model of another description."""
    other = build(model).double().eval()
    other.load_state_dict(ours.state_dict())
    assert isinstance(other, EncoderDecoder)
    return other
