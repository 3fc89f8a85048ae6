"""Compiled steps: what they write is what the model itself writes, and the code is made once and holds no weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch._inductor
import torch.nn.functional as F
from torch._inductor.exc import InductorError

from pellucid.base.config import DecodingConfig, ModelConfig, StackConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.decoding.search import search
from pellucid.model import compiled_step
from pellucid.model.build import build, initialise
from pellucid.model.compiled import Compiled
from pellucid.model.compiled_step import Step
from pellucid.model.packed import Int8Linear, packed, quantised
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, Transformer

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

VOCABULARY, START = 29, 1


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this test's own: nothing is found in it that was not compiled here."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def made(config: ModelConfig, seed: int) -> Transformer:
    model = build(config)
    initialise(model, seed)
    with torch.no_grad():
        model.weight("output").mul_(3.0)  # far apart: no rounding decides
    return model.eval()


PAIRS = ModelConfig(
    d_model=24,
    encoder=StackConfig(n_layers=1, n_heads=2, d_ff=20),
    decoder=StackConfig(n_layers=2, n_heads=(3, 2), d_ff=(40, 28)),
    source_vocabulary=VOCABULARY,
    target_vocabulary=VOCABULARY,
    dropout=0.0,
    max_length=40,
)
ALONE = ModelConfig(
    architecture="decoder",
    d_model=24,
    decoder=StackConfig(n_layers=2, n_heads=4, n_kv_heads=2, d_ff=40),
    activation="swiglu",
    norm="pre",
    norm_kind="rms",
    positions="rotary",
    target_vocabulary=VOCABULARY,
    source_vocabulary=VOCABULARY,
    dropout=0.0,
    max_length=40,
)


def encoder_decoder(seed: int = 3, config: ModelConfig = PAIRS) -> EncoderDecoder:
    model = made(config, seed)
    assert isinstance(model, EncoderDecoder)
    return model


def decoder_only(seed: int = 3) -> DecoderOnly:
    model = made(ALONE, seed)
    assert isinstance(model, DecoderOnly)
    return model


def written(
    model: object, length: int, beams: int = 1, rows: int = 1, new: int = 12, padded: bool = False
) -> list[tuple[tuple[int, ...], float]]:
    """Outputs and scores for sources of so many tokens; with ``padded`` each is one token shorter than the one before."""
    source = torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(length))
    limits, config = new - torch.arange(rows) % 4, DecodingConfig(beams=beams)
    mask = torch.arange(length) < (length - torch.arange(rows) if padded else torch.full((rows,), length))[:, None]
    found = search(model, source, mask, config, start=START, end=0, limits=limits, forbidden=(2, 5))  # type: ignore[arg-type]
    return [(best.ids, best.log_probability) for best, *_ in found]


def assert_same(found: list[tuple[tuple[int, ...], float]], expected: list[tuple[tuple[int, ...], float]]) -> None:
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-3)


@needs_compiler
def test_an_encoder_decoder_writes_the_same_for_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder_decoder()
    fast = Compiled(model, PAIRS, (1, 3))
    for length in (2, 5, 11):
        for beams in (1, 3):
            assert_same(written(fast, length, beams), written(model, length, beams))
    # The code is there now, and fits another model of this shape.
    monkeypatch.setattr(compiled_step, "_compile", lambda *_: pytest.fail("compiled anew"))
    other = encoder_decoder(seed=8)
    assert written(other, 5) != written(model, 5)
    assert_same(written(Compiled(other, PAIRS, (1,)), 5), written(other, 5))
    with torch.no_grad():
        other.weight("output").zero_()  # every token as probable as any other
    assert_same(written(Compiled(other, PAIRS, (1, 3)), 5, beams=3), written(other, 5, beams=3))


@needs_compiler
def test_a_decoder_goes_on_from_a_prompt_and_past_the_room_laid_out_ahead() -> None:
    model = decoder_only()
    fast = Compiled(model, ALONE, (1,))
    for length in (0, 1, 6):
        assert_same(written(fast, length, new=90 if length == 6 else 12), written(model, length, new=90 if length == 6 else 12))
    # Several positions at once, and back: what speculative decoding asks for.
    prompt, ids = torch.tensor([[4, 9, 7]]), torch.tensor([[3, 8, 6]])
    whole = torch.ones_like(prompt, dtype=torch.bool)
    with torch.inference_mode():
        expected, _ = model.step(ids, model.start(model.encode(prompt, whole)))
        state = fast.start(fast.encode(prompt, whole))
        fast.step(torch.tensor([[11, 12]]), state)
        state.truncate(3)
        found, state = fast.step(ids, state)
    assert state.length == 6
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@needs_compiler
@pytest.mark.parametrize(("beams", "small"), [(1, True), (3, False)], ids=["greedy, plain", "beams, laid out"])
def test_many_sentences_are_decoded_at_once_and_leave_one_by_one(
    beams: int, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not small:
        monkeypatch.setattr("pellucid.model.packed.SMALL", 0)
    model = packed(encoder_decoder())
    fast = Compiled(model, PAIRS, (beams,))
    for rows in (2, 3, 7):
        for padded in (False, True):
            lengths = len({len(ids) for ids, _ in written(model, 9, beams, rows, padded=padded)})
            assert lengths > 1  # so that some go on when others have left
            assert_same(written(fast, 9, beams, rows, padded=padded), written(model, 9, beams, rows, padded=padded))
    assert_same(written(fast, 9, beams, 3, new=38), written(model, 9, beams, 3, new=38))


@needs_compiler
@pytest.mark.parametrize("beams", [1, 3])
def test_many_prompts_are_gone_on_with_at_once(beams: int) -> None:
    model = decoder_only()
    fast = Compiled(model, ALONE, (beams,))
    for length in (0, 6):
        assert_same(written(fast, length, beams, 5, new=75), written(model, length, beams, 5, new=75))
    # Prompts of several lengths take the model's own step.
    assert_same(written(fast, 6, beams, 5, padded=True), written(model, 6, beams, 5, padded=True))


@needs_compiler
def test_8_bits_are_compiled_too() -> None:
    model = encoder_decoder()
    exact = written(model, 5)
    model = quantised(model)
    fast = Compiled(model, PAIRS, (1, 2))
    [(ids, score)] = written(fast, 5)
    assert len(ids) == len(exact[0][0])
    assert score == pytest.approx(written(model, 5)[0][1], rel=0.05)
    [(ids, score)], [(_, expected)] = written(fast, 5, beams=2), written(model, 5, beams=2)
    assert score == pytest.approx(expected, rel=0.05)


@needs_compiler
@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no instruction for products in 8 bits")
def test_many_sentences_in_8_bits_are_compiled_with_a_scale_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = quantised(encoder_decoder())
    fast = Compiled(model, PAIRS, (2,))

    def by_rows(self: Int8Linear, x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(-1, keepdim=True) / 127
        out = F.linear((x / step).round(), self.weight.float()) * step * self.scale
        return out if self.bias is None else out + self.bias

    monkeypatch.setattr(Int8Linear, "forward", by_rows)
    assert_same(written(fast, 9, beams=2, rows=6, padded=True), written(model, 9, beams=2, rows=6, padded=True))


def test_without_an_instruction_for_8_bits_batches_take_the_model_s_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    model = quantised(encoder_decoder())
    fast = Compiled(model, PAIRS, (1, 3))
    monkeypatch.setattr(compiled_step, "_load", lambda _: pytest.fail("looked for compiled code"))
    assert written(fast, 9, beams=3, rows=4) == written(model, 9, beams=3, rows=4)


@needs_compiler
def test_models_of_one_shape_that_compute_otherwise_do_not_share_code() -> None:
    config = replace(PAIRS, activation="gelu")  # no weight has another shape
    like, other = encoder_decoder(), encoder_decoder(config=config)
    assert written(like, 5) != written(other, 5)
    assert_same(written(Compiled(like, PAIRS, (1,)), 5), written(like, 5))
    assert_same(written(Compiled(other, config, (1,)), 5), written(other, 5))


@needs_compiler
def test_half_precision_is_compiled_too() -> None:
    model = encoder_decoder().bfloat16()
    [(ids, score)], [(expected, exact)] = written(Compiled(model, PAIRS, (1,)), 5), written(model, 5)
    assert len(ids) == len(expected)
    assert score == pytest.approx(exact, rel=0.05)  # sums are rounded at other places


@needs_compiler
def test_a_damaged_file_in_the_cache_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder_decoder()
    load = compiled_step._load
    paths: list[Path] = []

    def watched(path: Path) -> object:
        paths.append(path)
        return load(path)

    monkeypatch.setattr(compiled_step, "_load", watched)
    expected = written(Compiled(model, PAIRS, (1,)), 5)
    whole = paths[-1].read_bytes()
    paths[-1].write_bytes(whole[:1000])
    made: list[Path] = []

    def put_back(_step: object, path: Path) -> None:
        path.write_bytes(whole)
        made.append(path)

    monkeypatch.setattr(compiled_step, "_compile", put_back)
    assert written(Compiled(model, PAIRS, (1,)), 5) == expected
    assert made == paths[-1:]


@needs_compiler
def test_a_step_too_deep_for_planning_its_memory_is_compiled_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The compiler of torch plans by recursion, which ends at Python's limit."""
    asked = []

    def compiler(_: object, *, package_path: str, inductor_configs: dict[str, object]) -> None:
        asked.append(inductor_configs["memory_planning"])
        if inductor_configs["memory_planning"]:
            raise InductorError(RecursionError("maximum recursion depth exceeded"), None)
        Path(package_path).write_bytes(b"code")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiler)
    for beams, expected in ((1, [True, False]), (2, [False])):
        asked.clear()
        compiled_step._compile(Step(encoder_decoder(), beams, many=False), tmp_path / "step.pt2")
        assert asked == expected
        assert (tmp_path / "step.pt2").read_bytes() == b"code"

    def broken(*_: object, **__: object) -> None:
        raise InductorError(ValueError("another reason"), None)

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", broken)
    with pytest.raises(InductorError, match="another reason"):
        compiled_step._compile(Step(encoder_decoder(), 1, many=False), tmp_path / "step.pt2")


def test_the_oldest_files_of_the_cache_make_room(tmp_path: Path) -> None:
    for number in range(compiled_step.KEPT + 2):
        path = tmp_path / f"{number}.pt2"
        path.touch()
        os.utime(path, (number, number))
    compiled_step._make_room(tmp_path)
    assert len(list(tmp_path.iterdir())) == compiled_step.KEPT
    assert not (tmp_path / "1.pt2").exists()


@needs_compiler
def test_past_the_last_position_it_says_so() -> None:
    with pytest.raises(DataError, match="longer than the model's positions reach"):
        written(Compiled(encoder_decoder(), PAIRS, (1,)), 5, new=41)


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(UsageError, match="too many beams for a compiled step"):
        Compiled(encoder_decoder(), PAIRS, (9,))
    with pytest.raises(UsageError, match="steps are compiled for CPUs"):
        Compiled(encoder_decoder().to("meta"), PAIRS, (1,))


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match="no no-such-compiler"):
        written(Compiled(encoder_decoder(), PAIRS, (1,)), 5)
    assert list(tmp_path.iterdir()) == []
