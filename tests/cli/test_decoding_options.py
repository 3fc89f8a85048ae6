"""The options of ``translate`` and ``generate``: they reach the model, N lines stay N lines, nonsense is refused at once."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from pellucid import load
from pellucid.base.config import ModelConfig, RunConfig, StackConfig, TextConfig
from pellucid.cli import generate, translate
from pellucid.model.build import build, initialise
from pellucid.tasks.model_directory import save_model
from pellucid.tasks.translator import Translator
from pellucid.text.tokenizer import Tokenizer

Run = Callable[..., int]
Feed = Callable[[bytes], None]
Said = Callable[[], str]
Capture = pytest.CaptureFixture[str]
LINES = ["a b", "", "c d e", " ", "f"]


def fed(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def objects(out: str) -> list[Any]:
    return [json.loads(line) if line else None for line in out.split("\n")[:-1]]


@pytest.fixture(scope="module")
def small(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of another, untrained model with the tokenizers of the one that has learnt."""
    return saved(translator, translator.tokenizers, tmp_path_factory.mktemp("small"))


def saved(translator: Translator, tokenizers: Any, directory: Path) -> Path:
    one = StackConfig(1, 2, 24)
    config: RunConfig = translator.config
    config = replace(config, model=replace(config.model, d_model=16, encoder=one, decoder=one))
    built = build(config.model)
    initialise(built, 5)
    save_model(directory, config, tokenizers, dict(built.state_dict()), "")
    return directory


def writer(directory: Path) -> Path:
    """An untrained language model of letters."""
    tokenizer = Tokenizer.train(["abcdefghij \n"], TextConfig(tokenizer="character", min_frequency=1))
    size = tokenizer.vocabulary_size
    shape = ModelConfig(
        architecture="decoder",
        d_model=16,
        decoder=StackConfig(1, 2, 24),
        positions="rotary",
        source_vocabulary=size,
        target_vocabulary=size,
    )
    config = RunConfig(task="language_modelling", model=shape, text=TextConfig(tokenizer="character"))
    built = build(config.model)
    initialise(built, 5)
    weights = {name: 2.0 * weight for name, weight in built.state_dict().items()}
    save_model(directory, config, (tokenizer, tokenizer), weights, "")
    return directory


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer(tmp_path_factory.mktemp("letters"))


def test_both_verbs_have_the_same_options() -> None:
    def options(command: click.Command) -> dict[str, Any]:
        return {one.name: one.to_info_dict() for one in command.params if isinstance(one, click.Option) and one.name}

    ours, theirs = options(translate.translate), options(generate.generate)
    assert ours.keys() - theirs.keys() == {"align", "batch"}
    assert theirs.keys() - ours.keys() == {"file", "n", "picture"}
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 25
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--top-p 0", "0.0 is not in the range"),
            ("--beams 10000", "10000 is not in the range"),
            ("--beams 2 --nbest 3", "expected: 1 to 2"),
            ("--beams 3 --temperature 0.5", "several beams search"),
            ("--beams 3 --top-k 5", "1 with top_k"),
            ("--temperature 0 --top-p 0.5", "temperature 0 draws nothing"),
            ("--mbr 4 --beams 2", "1 with samples"),
            ("--mbr 1", "1 is not in the range"),
            ("--stream --nbest 2", "a stream with n_best 2"),
            ("--stream --beams 2", "a stream with 2 beams"),
            ("--stream --mbr 3", "a stream with samples"),
            ("--stream --scores", "a stream with scores"),
            ("--stream --draft x", "a stream with draft"),
            ("--stream --jsonl", "--stream and --jsonl"),
            ("--draft x --beams 2", "a draft proposes for one beam"),
            ("--min-length 5 --tokens 4", "cannot be longer than its limit"),
            ("--ban ''", "a banned word is empty"),
        ],
    )
    @pytest.mark.parametrize("verb", ["translate", "generate"])
    def test_what_makes_no_sense_before_a_model_is_looked_for(
        self, pellucid: Run, said: Said, tmp_path: Path, verb: str, options: str, words: str
    ) -> None:
        given = ["" if option == "''" else option for option in options.split()]
        assert pellucid(verb, tmp_path / "no model", *given) == 2
        assert words in said()

    def test_at_once(self, tmp_path: Path) -> None:
        """Without torch; the shortest of three, since a shared machine can be slow at any time."""
        command = [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            "pellucid.cli.main",
            "translate",
            str(tmp_path),
            "--beams",
            "2",
            "--mbr",
            "3",
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 2
        assert "several beams search" in found.stderr
        assert "pellucid.tasks.request" in found.stderr
        assert "torch" not in found.stderr

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--glossary GLOSSARY", "the model cannot write this term"),
            ("--prefix zebra", "the model cannot write this prefix"),
            ("--align 2.0", "no such layer or head"),
            ("--align 0.7", "layer 0 to 1, head 0 to 3"),
            ("--draft OTHER", "do not share their tokenizers"),
            ("--ensemble OTHER", "do not share their tokenizers"),
            ("--draft SMALL --glossary GLOSSARY", "a draft cannot propose"),
            ("--stream --align 0.0", "--align without --stream"),
        ],
    )
    def test_what_the_model_cannot_do_before_it_runs(
        self,
        pellucid: Run,
        feed: Feed,
        said: Said,
        learnt: Path,
        small: Path,
        translator: Translator,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        options: str,
        words: str,
    ) -> None:
        def running(*arguments: Any, **named: Any) -> None:
            raise AssertionError("the model ran")

        monkeypatch.setattr("pellucid.tasks.writing.search", running)
        (tmp_path / "glossary.tsv").write_text("a\tzebra\n", encoding="utf-8")
        other = Tokenizer.train(["A B C", "D E F G H I J K L M N O P"], TextConfig(tokenizer="word", min_frequency=1))
        places = {"GLOSSARY": tmp_path / "glossary.tsv", "SMALL": small, "OTHER": tmp_path / "other"}
        if "OTHER" in options:
            saved(translator, (translator.source_tokenizer, other), tmp_path / "other")
        feed(b"b\n")
        assert pellucid("translate", learnt, *(places.get(option, option) for option in options.split())) == 2
        assert words in said()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--n 2 --jsonl --top-k 3", "without --n"),
            ("--n 2 --nbest 2 --beams 2", "give one of them"),
            ("--picture a.png --stream", "--picture is of whole texts"),
        ],
    )
    def test_forms_that_generate_cannot_give(self, pellucid: Run, said: Said, tmp_path: Path, options: str, words: str) -> None:
        assert pellucid("generate", tmp_path / "no model", *options.split()) == 2
        assert words in said()

    @pytest.mark.parametrize("verb", ["translate", "generate"])
    def test_files_that_are_not_there(self, pellucid: Run, said: Said, tmp_path: Path, verb: str) -> None:
        for option in ("--glossary", "--ban-file"):
            assert pellucid(verb, tmp_path, option, tmp_path / "none.txt") == 3
            assert "none.txt: no such file" in said()


class TestTranslate:
    def run(self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, *options: object, lines: list[str] = LINES) -> str:
        feed(fed(lines))
        assert pellucid("translate", learnt, *options, "--quiet") == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "ways"),
        [
            (
                "--temperature 1.5 --top-k 9 --top-p 0.95 --min-p 0.01 --seed 5",
                {"temperature": 1.5, "top_k": 9, "top_p": 0.95, "min_p": 0.01, "seed": 5},
            ),
            (
                "--repetition-penalty 3 --no-repeat-ngram 1 --min-length 4 --beams 1",
                {"repetition_penalty": 3.0, "no_repeat_ngram": 1, "min_length": 4, "beams": 1},
            ),
            ("--tokens 2 --prefix H", {"tokens": 2, "prefix": "H"}),
            ("--ban A --ban B", {"ban": ["A", "B"]}),
            ("--mbr 4 --temperature 2 --utility bleu", {"samples": 4, "temperature": 2.0, "utility": "bleu"}),
        ],
    )
    def test_options_reach_the_model(
        self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator, options: str, ways: Any
    ) -> None:
        found = self.run(pellucid, feed, capsys, learnt, *options.split())
        assert found.split("\n")[:-1] == translator.translate(LINES, **ways)
        assert found.split("\n")[:-1] != translator.translate(LINES)

    def test_a_glossary_and_banned_words_from_files(
        self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, tmp_path: Path
    ) -> None:
        """Every time: all lines that have a term."""
        (tmp_path / "glossary.tsv").write_text("a\tE F\tG G\nc d\tH\n", encoding="utf-8")
        (tmp_path / "banned.txt").write_text("B\n\nD C\n", encoding="utf-8")
        lines = [" ".join(f"{number:06o}".translate(str.maketrans("01234567", "abcdefgh"))) for number in range(0, 9000, 60)]
        options = ("--glossary", tmp_path / "glossary.tsv", "--ban-file", tmp_path / "banned.txt")
        found = self.run(pellucid, feed, capsys, learnt, *options, lines=lines).split("\n")[:-1]
        assert len(found) == len(lines)
        for line, text in zip(lines, found, strict=True):
            assert "a" not in line or "E F" in text or "G G" in text
            assert "c d" not in line or "H" in text
            assert "B" not in text
            assert "D C" not in text

    def test_streams(
        self, pellucid: Run, feed: Feed, learnt: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Piece by piece, each brought out before the next one is asked for; line by line the greedy translations."""
        seen: list[str] = []

        class Screen(io.StringIO):
            def flush(self) -> None:
                seen.append(self.getvalue())

        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        feed(fed(LINES))
        assert pellucid("translate", learnt, "--stream") == 0
        assert screen.getvalue().split("\n")[:-1] == translator.translate(LINES, beams=1)
        assert seen[:4] == ["B", "B A", "B A\n", "B A\n\n"]

    def test_columns(self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator) -> None:
        """Line number and score before the text, the alignment behind it."""
        found = list(translator.translate_lines(LINES, n_best=2, align=(1, 0), scores=True))
        run = self.run(pellucid, feed, capsys, learnt, "--align", "1.0", "--scores")
        rows = [line.split("\t") for line in run.split("\n")[:-1]]
        assert [row[:2] for row in rows] == [[f"{best.score:.4f}", best.text] for best, *_ in found]
        links = [sorted(best.alignment or (), key=lambda link: link[1]) for best, *_ in found]
        assert [row[2] for row in rows] == [" ".join(f"{s}-{t}" for s, t in some) for some in links]
        run = self.run(pellucid, feed, capsys, learnt, "--nbest", 2, "--align", "1.0")
        rows = [line.split("\t") for line in run.split("\n")[:-1]]
        assert [row[0] for row in rows] == ["1", "1", "2", "3", "3", "4", "5", "5"]
        assert [row[2] for row in rows] == [one.text for some in found for one in some]

    def test_the_best_head_for_a_file(
        self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator, tmp_path: Path
    ) -> None:
        (tmp_path / "known.tsv").write_text("a b\tB A\t1-0 0-1\n\nc d e\tE D C\t2-0 1-1 0-2\n", encoding="utf-8")
        best = translator.best_head([("a b", "B A"), ("c d e", "E D C")], ["1-0 0-1", "2-0 1-1 0-2"])
        feed(fed(LINES))
        assert pellucid("translate", learnt, "--align", tmp_path / "known.tsv") == 0
        out, err = capsys.readouterr()
        assert f"--align {best.layer}.{best.head}, error rate {best.error_rate:.3f} on 2 pairs" in err
        assert out == self.run(pellucid, feed, capsys, learnt, "--align", f"{best.layer}.{best.head}")
        (tmp_path / "known.tsv").write_text("a b\tB A\n", encoding="utf-8")
        assert pellucid("translate", learnt, "--align", tmp_path / "known.tsv") == 3
        assert "pair 1: this is no aligned pair" in capsys.readouterr().err

    def test_other_models(
        self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator, small: Path
    ) -> None:
        greedy = translator.translate(LINES, beams=1)
        assert self.run(pellucid, feed, capsys, learnt, "--draft", small).split("\n")[:-1] == greedy
        both = translator.translate(LINES, ensemble=[load(small), load(small)])
        assert self.run(pellucid, feed, capsys, learnt, "--ensemble", small, "--ensemble", small).split("\n")[:-1] == both
        assert both != translator.translate(LINES)

    def test_objects(self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator) -> None:
        """One for each, in the same order; what each asks for alone; an empty line stays one."""
        lines = [
            {"text": "a b", "id": 17, "prefix": "H"},
            {"text": "c d", "glossary": {"c": ["G G", "F F"], "a": "E"}},
            {"text": "", "id": "none"},
            {"text": "a\nb", "seed": 3},
        ]
        given = [json.dumps(lines[0]), "", *map(json.dumps, lines[1:])]
        options = ("--jsonl", "--scores", "--align", "0.1", "--nbest", 2)
        found = objects(self.run(pellucid, feed, capsys, learnt, *options, lines=given))
        assert found[1] is None
        del found[1]
        assert [one.get("id", "") for one in found] == [17, "", "none", ""]
        assert found[0]["text"].startswith("H")
        assert "G G" in found[1]["text"] or "F F" in found[1]["text"]
        assert found[2] == {
            "id": "none",
            "text": "",
            "score": 0.0,
            "reason": "empty",
            "tokens": [],
            "alignment": "",
            "nbest": found[2]["nbest"],
        }
        for one in (found[0], found[1], found[3]):
            assert one["nbest"][0] == {key: one[key] for key in ("text", "score", "reason", "tokens", "alignment")}
            assert [len(one["nbest"]), one["reason"]] == [2, "end"]
            total = sum(token["log_probability"] for token in one["tokens"])
            assert one["score"] == pytest.approx(total / ((5 + len(one["tokens"])) / 6) ** 0.6, abs=1e-4)
            assert len(one["alignment"].split()) == len(one["text"].split())

    def test_seeds_of_objects(self, pellucid: Run, feed: Feed, capsys: Capture, learnt: Path, translator: Translator) -> None:
        """The same request gives the same text in whatever company."""
        given = [json.dumps({"text": text, "seed": seed}) for seed, text in enumerate("abcdefgh" * 3)]
        options = ("--jsonl", "--temperature", 3)
        found = [one["text"] for one in objects(self.run(pellucid, feed, capsys, learnt, *options, lines=given))]
        alone = [translator.translate(text, temperature=3.0, seed=seed)[0] for seed, text in enumerate("abcdefgh" * 3)]
        assert found == alone

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("a b", "line 2: this is not JSON"),
            ('["a"]', "line 2: a line has no text"),
            ('{"prefix": "a"}', "line 2: a line has no text"),
            ('{"text": 3}', "line 2: text is something else"),
            ('{"text": "a", "seed": "3"}', "line 2: seed is something else"),
            ('{"text": "a", "seed": true}', "line 2: seed is something else"),
            ('{"text": "a", "seeds": 3}', "line 2: no such key"),
            ('{"text": "a", "glossary": {"a": 3}}', "line 2: this is no term"),
            ('{"text": "a", "glossary": [[]]}', "line 2: this is no term"),
        ],
    )
    def test_lines_that_are_no_objects(
        self, pellucid: Run, feed: Feed, learnt: Path, said: Said, line: str, words: str
    ) -> None:
        feed(f'{{"text": "a"}}\n{line}\n'.encode())
        assert pellucid("translate", learnt, "--jsonl") == 3
        assert words in said()


class TestGenerate:
    def test_streams(self, pellucid: Run, capsys: Capture, letters: Path) -> None:
        options = ("--tokens", 12, "--temperature", 1.2, "--seed", 4, "--quiet")
        assert pellucid("generate", letters, "abc", "j", *options) == 0
        whole = capsys.readouterr().out
        assert pellucid("generate", letters, "abc", "j", *options, "--stream") == 0
        assert capsys.readouterr().out == whole

    def test_objects(self, pellucid: Run, feed: Feed, capsys: Capture, letters: Path) -> None:
        model = load(letters)
        lines = [{"text": "abc", "seed": 5, "id": [1]}, None, {"text": "", "glossary": ["dad"]}, {"text": "j", "prefix": "ig"}]
        feed("".join("\n" if line is None else json.dumps(line) + "\n" for line in lines).encode())
        assert pellucid("generate", letters, "--jsonl", "--tokens", 12, "--temperature", 1.2, "--scores", "--quiet") == 0
        first, empty, second, third = objects(capsys.readouterr().out)
        assert empty is None
        assert first["text"] == model.generate("abc", seed=5, tokens=12, temperature=1.2)[0]
        assert (first["id"], first["reason"], len(first["tokens"])) == ([1], "length", 12)
        assert "dad" in second["text"]
        assert third["text"].startswith("jig")

    def test_required_phrases_and_scores(self, pellucid: Run, capsys: Capture, letters: Path, tmp_path: Path) -> None:
        (tmp_path / "phrases.txt").write_text("dad\tmum\nhi\n", encoding="utf-8")
        prompts = ["a", "bcd", "hgfe"]
        options = ("--tokens", 20, "--glossary", tmp_path / "phrases.txt", "--beams", 3, "--nbest", 2, "--quiet")
        assert pellucid("generate", letters, *prompts, *options) == 2  # "mum" has a letter that the model does not know
        (tmp_path / "phrases.txt").write_text("dad\tgag\nhi\n", encoding="utf-8")
        capsys.readouterr()
        assert pellucid("generate", letters, *prompts, *options) == 0
        results = capsys.readouterr().out.split("\n---\n")
        assert [result.split("\t")[0] for result in results] == ["1", "1", "2", "2", "3", "3"]
        assert all("hi" in text and ("dad" in text or "gag" in text) for text in results)

    def test_precision(self, pellucid: Run, capsys: Capture, letters: Path) -> None:
        assert pellucid("generate", letters, "abc", "--tokens", 5, "--precision", "bfloat16", "--beams", 1, "--quiet") == 0
        assert capsys.readouterr().out == load(letters, "bfloat16").generate("abc", tokens=5, beams=1)[0] + "\n"


class TestPrecision:
    def test_in_8_bits_lines_are_translated_as_well(
        self, pellucid: Run, capfd: Capture, translator: Translator, model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "lines").write_bytes(fed(LINES))
        assert pellucid("translate", model, tmp_path / "lines", "--precision", "int8") == 0
        found = capfd.readouterr().out.split("\n")[:-1]
        exact = [outputs[0].text for outputs in translator.translate_lines(LINES)]
        # What has been learnt well is not changed by rounding.
        assert found == exact

    @pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
    def test_compiled_once_and_found_again(
        self, pellucid: Run, capfd: Capture, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        (tmp_path / "lines").write_bytes(fed(["a b c"]))
        said = []
        for options in ([], ["--compile"], ["--compile"]):
            assert pellucid("translate", model, tmp_path / "lines", "--beams", "2", *options) == 0
            said.append(capfd.readouterr())
        assert said[0].out == said[1].out == said[2].out
        assert ["compiling a step for 2 rows" in one.err for one in said] == [False, True, False]
        assert [path.suffix for path in (tmp_path / "cache" / "pellucid" / "compiled").iterdir()] == [".pt2"]

    def test_more_beams_than_a_compiled_step_has_room_for(self, pellucid: Run, said: Said, model: Path) -> None:
        assert pellucid("translate", model, "--beams", "9", "--compile") == 2
        assert "too many beams for a compiled step" in said()
