"""Models of ours as ONNX graphs in onnxruntime: their logits and what is written with them, against ours.

A graph takes seconds to trace: one of each kind is in every run, the other models of toy_models are in the slow ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from test_to_ctranslate2 import public_pair, run_readme
from torch import Tensor
from toy_models import (
    ALONE,
    END,
    LIMIT,
    OTHERS,
    PAIRS,
    SOURCES,
    START,
    TARGETS,
    directory_of,
    greedy,
    lively,
    padded,
    toy,
    variety,
)

import pellucid
from pellucid.base.config import DecodingConfig, ModelConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.search import search
from pellucid.exchange.to_onnx import graphs, write_graphs
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.framing import unwritable
from pellucid.tasks.leaving import leave

Values = dict[str, Any]


class Sessions:
    """The graphs of a directory: arrays by name in, arrays by name out."""

    def __init__(self, directory: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.by_name = {path.stem: onnxruntime.InferenceSession(path, options) for path in directory.glob("*.onnx")}

    def run(self, name: str, **inputs: Any) -> Values:
        session = self.by_name[name]
        given = {key: value.numpy() if isinstance(value, Tensor) else value for key, value in inputs.items()}
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, given), strict=True))

    def step(self, ids: Tensor, found: Values, **masks_and_source: Any) -> Values:
        """One more token, after what the graph before left."""
        past = {name.replace("present", "past"): value for name, value in found.items() if name.startswith("p")}
        return self.run("decoder_step", ids=ids, **masks_and_source, **past)


def close(found: Any, expected: Tensor) -> None:
    """Logits spread by 0.2 to 1; of the post-norm toys float32 leaves ours up to 1e-4 from float64, and theirs as far."""
    torch.testing.assert_close(torch.from_numpy(found), expected.detach(), rtol=1e-4, atol=1e-4)


def written(config: ModelConfig, model: Any, directory: Path) -> Sessions:
    write_graphs(graphs(model, config), directory)
    return Sessions(directory)


def check_pair(
    model: EncoderDecoder, there: Sessions, source: Values, limit: int, end: int, never: tuple[int, ...]
) -> list[list[int]]:
    """Encoder, first step of several tokens, and cached steps; then what is written for the sources, greedily."""
    mask = {name: value for name, value in source.items() if name == "source_mask"}
    real, given = mask.get("source_mask"), next(iter(source.values()))
    memory = there.run("encoder", **source)
    states = model.encode(given, real).states
    for name, value in memory.items():
        rows = slice(None) if real is None else real
        close(value[rows.numpy() if isinstance(rows, Tensor) else rows], states[int(name.split(".")[1])][rows])
    size = (len(given), 7)
    target = torch.randint(4, len(model.weight("target")), size, generator=torch.Generator().manual_seed(3))
    expected = model(given, target, source_mask=real)
    found = there.run("decoder_first", ids=target[:, :4], **mask, **memory)
    close(found["logits"], expected[:, :4])
    cache = {name: value for name, value in found.items() if name.startswith("source")}
    for place in range(4, 7):
        found = there.step(target[:, place : place + 1], found, **mask, **cache)
        close(found["logits"][:, 0], expected[:, place])
    found = there.run("decoder_first", ids=torch.full((len(given), 1), START), **mask, **memory)
    return _greedily(found, lambda ids, past: there.step(ids, past, **mask, **cache), limit, end, never)


def _greedily(
    found: Values, step: Callable[[Tensor, Values], Values], limit: int, end: int, never: tuple[int, ...] = ()
) -> list[list[int]]:
    columns = []
    for _ in range(limit):
        logits = torch.from_numpy(found["logits"])[:, -1]
        logits[:, list(never)] = -torch.inf
        columns.append(logits.argmax(-1))
        found = step(columns[-1][:, None], found)
    rows = torch.stack(columns, dim=1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def check_alone(model: Any, there: Sessions, prompts: list[list[int]]) -> list[list[int]]:
    """Prompts of different lengths, padded on the left, and cached steps; then what is written after them, greedily."""
    ids, real = padded([row[::-1] for row in prompts])
    ids, mask = ids.flip(1), real.flip(1)
    after = torch.tensor(TARGETS[0][:3]).expand(len(prompts), 3)
    whole = torch.cat((mask, torch.ones_like(after, dtype=torch.bool)), dim=1)
    expected = model(torch.cat((ids, after), dim=1), mask=whole)
    found = first = there.run("decoder_first", ids=ids, mask=mask)
    close(found["logits"][mask.numpy()], expected[:, : ids.shape[1]][mask])
    for place in range(3):
        found = there.step(after[:, place : place + 1], found, mask=whole[:, : ids.shape[1] + place + 1])
        close(found["logits"][:, 0], expected[:, ids.shape[1] + place])

    def step(new: Tensor, past: Values) -> Values:
        nonlocal mask
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        return there.step(new, past, mask=mask)

    return _greedily(first, step, LIMIT, END)


def sources() -> Values:
    ids, mask = padded([[*ids, END] for ids in SOURCES])
    return {"source": ids, "source_mask": mask}


@pytest.fixture(scope="module")
def out(learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The translator that has learnt its pairs, exported."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    leave(learnt, out, "onnx")
    return out


class TestTrainedTranslator:
    def test_numbers_and_outputs(self, learnt: Path, out: Path) -> None:
        translator = pellucid.load(learnt)
        lines = (learnt.parent / "corpus" / "train.tsv").read_text(encoding="utf-8").splitlines()[:30]
        texts = [line.split("\t")[0] for line in lines]
        ids, mask = padded([[*ids, END] for ids in translator.tokenizer.encode_batch(texts)])
        never = unwritable(translator.tokenizer)
        with torch.no_grad():
            rows = check_pair(translator.model, Sessions(out), {"source": ids, "source_mask": mask}, 12, END, never)
        assert [translator.tokenizer.decode(row) for row in rows] == translator.translate(texts, beams=1)
        assert variety(rows) > 4

    def test_any_batch_and_length(self, learnt: Path, out: Path) -> None:
        """One row of one token, where the graphs were traced with more."""
        model, there = pellucid.load(learnt).model, Sessions(out)
        source, mask = torch.tensor([[5]]), torch.tensor([[True]])
        memory = there.run("encoder", source=source, source_mask=mask)
        found = there.run("decoder_first", ids=torch.tensor([[START]]), source_mask=mask, **memory)
        with torch.no_grad():
            close(found["logits"], model(source, torch.tensor([[START]])))

    def test_the_readme(
        self, learnt: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        printed = run_readme(out, monkeypatch, capsys)
        assert printed == pellucid.load(learnt).translate(["Write a text here."], beams=1)[0]
        names = {"encoder.onnx", "decoder_first.onnx", "decoder_step.onnx", "tokenizer.json", "pellucid.json", "README.md"}
        assert {path.name for path in out.iterdir()} == {*names, "manifest.json"}

    def test_names_and_free_axes(self, out: Path) -> None:
        session = Sessions(out).by_name["decoder_step"]
        shapes = {each.name: each.shape for each in session.get_inputs()}
        assert shapes["ids"] == ["batch", 1]
        assert shapes["source_mask"] == ["batch", "source"]
        assert shapes["past.1.value"] == ["batch", 4, "past", 8]
        assert shapes["source.0.key"] == ["batch", 4, "source", 8]


def test_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = directory_of(ALONE["llama"], "language_modelling", tmp_path / "model")
    leave(model, tmp_path / "out", "onnx")
    ours = pellucid.load(model)
    with torch.no_grad():
        check_alone(ours.model, Sessions(tmp_path / "out"), SOURCES)
    whole = ours.generate(["Write a text here."], tokens=20, beams=1)[0]
    assert "Write a text here." + run_readme(tmp_path / "out", monkeypatch, capsys) == whole


def check_encoder(config: ModelConfig, model: Any, there: Sessions) -> None:
    ids, mask = padded(SOURCES)
    if config.picture.patch:
        pixels = torch.randn(3, 1, 8, 12, generator=torch.Generator().manual_seed(2))
        close(there.run("model", pixels=pixels)["logits"], model(pixels))
        return
    types = {"types": (ids > 20).long()} if config.embedding.types else {}
    close(there.run("model", ids=ids, mask=mask, **types)["logits"], model(ids, source_mask=mask, **types))


@pytest.mark.parametrize(("name", "task"), [("bert", "classification"), ("pictures", "picture_classification")])
def test_an_encoder(
    name: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(directory_of(OTHERS[name], task, tmp_path / "model"), tmp_path / "out", "onnx")
    ours = pellucid.load(tmp_path / "model")
    with torch.no_grad():
        check_encoder(ours.config.model, ours.model, Sessions(tmp_path / "out"))
    source = torch.zeros(1, 1, 8, 12)
    if name == "bert":
        source = torch.tensor([[START, *ours.tokenizer.encode("Write a text here."), END]])
    assert run_readme(tmp_path / "out", monkeypatch, capsys) == f"[{ours.logits(source)[0].argmax()}]"


@pytest.mark.slow
def test_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's picture is black."""
    leave(directory_of(OTHERS["pictures to texts"], "captioning", tmp_path / "model"), tmp_path / "out", "onnx")
    ours = pellucid.load(tmp_path / "model")
    options = {"start": START, "end": END, "limits": torch.tensor([9]), "forbidden": unwritable(ours.tokenizer)}
    real = torch.ones(1, 6, dtype=torch.bool)
    [[best]] = search(ours.model, torch.zeros(1, 1, 8, 12), real, DecodingConfig(beams=1), **options)
    assert run_readme(tmp_path / "out", monkeypatch, capsys) == ours.tokenizer.decode(best.ids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_two_lists_of_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Marian's ids are not those of its tokenizers' files."""
    (tmp_path / "theirs").mkdir()
    ours = public_pair("marian", tmp_path)
    leave(tmp_path / "model", tmp_path / "out", "onnx")
    assert run_readme(tmp_path / "out", monkeypatch, capsys) == ours.translate(["Write a text here."], beams=1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PAIRS, *ALONE, *OTHERS])
def test_every_part(name: str, tmp_path: Path) -> None:
    """All that a model can be made of."""
    config = {**PAIRS, **ALONE, **OTHERS}[name]
    model = toy(config) if name in OTHERS else lively(name)
    there = written(config, model, tmp_path)
    with torch.no_grad():
        if config.architecture == "encoder":
            check_encoder(config, model, there)
        elif config.architecture == "decoder":
            assert check_alone(model, there, SOURCES) == greedy(model, config)
        elif config.picture.patch:
            pixels = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(2))
            check_pair(model, there, {"pixels": pixels}, 1, END, ())
        else:
            assert check_pair(model, there, sources(), LIMIT, END, ()) == greedy(model, config)


def test_missing_libraries_are_a_hint(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.exchange.to_onnx.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=re.escape('pip install "pellucid[onnx]"')):
        leave(learnt, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
