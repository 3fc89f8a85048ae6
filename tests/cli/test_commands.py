"""What the commands do when all is well: what goes in, what comes out, and where."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sacrebleu
import torch

from pellucid import __version__
from pellucid.base.config import RunConfig, TextConfig
from pellucid.base.recipe import read
from pellucid.data import corpus as builtin
from pellucid.data import public_sets
from pellucid.data.public_sets import PublicFile, PublicSet
from pellucid.tasks import attending as using
from pellucid.tasks.train import train
from pellucid.tasks.translator import Output, Translator

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "latin-1"}  # for processes of their own

Run = Callable[..., int]
Feed = Callable[[bytes], None]
PairsOf = Callable[[str], list[tuple[str, str]]]
Capture = pytest.CaptureFixture[str]


class TestTrain:
    def test_overrides_in_three_forms(self, pellucid: Run, recipe: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        forms = ["training.steps=4", "--training.log_every=2", "--model.dropout", "0.2", "--quiet"]
        assert pellucid("train", recipe, *forms, "--out", run) == 0
        config = read(run / "config.yaml")
        assert (config.training.steps, config.training.log_every, config.model.dropout) == (4, 2, 0.2)
        rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        assert [row["step"] for row in rows if "train_loss" in row] == [2, 4]

    def test_it_tells_its_progress_on_stderr_only(self, pellucid: Run, recipe: Path, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("train", recipe, "training.steps=2", "--out", tmp_path / "run") == 0
        out, err = capsys.readouterr()
        assert out == ""
        assert "parameters" in err
        assert "step 2: dev loss" in err

    def test_the_printed_configuration_is_a_recipe(self, pellucid: Run, recipe: Path, tmp_path: Path, capsys: Capture) -> None:
        before = sorted(tmp_path.rglob("*"))
        assert pellucid("train", recipe, "optimizer.learning_rate=0.5", "--print_config", "--out", tmp_path / "run") == 0
        assert sorted(tmp_path.rglob("*")) == before
        printed = tmp_path / "printed.yaml"
        printed.write_text(capsys.readouterr().out, encoding="utf-8")
        assert read(printed) == read(recipe, ["optimizer.learning_rate=0.5"])
        assert read(printed).optimizer.learning_rate == 0.5

    def test_where_the_run_goes_must_be_said(self, pellucid: Run, recipe: Path, capsys: Capture) -> None:
        assert pellucid("train", recipe) == 2
        assert "--out runs/NAME" in capsys.readouterr().err

    def test_a_call_that_found_no_data_binds_nobody(self, pellucid: Run, recipe: Path, tmp_path: Path, corpus: Path) -> None:
        run = tmp_path / "run"
        assert pellucid("train", recipe, "training.steps=2", "data.directory=nowhere", "--out", run) == 3
        assert pellucid("train", recipe, "training.steps=2", "--out", run) == 0
        assert pellucid("train", recipe, "training.steps=2", "seed=2", "--out", run) == 2


class TestEvaluate:
    def evaluate(self, pellucid: Run, capsys: Capture, *arguments: object) -> dict[str, Any]:
        assert pellucid("evaluate", *arguments, "--json") == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def test_json(self, pellucid: Run, learnt: Path, pairs_of: PairsOf, translator: Translator, capsys: Capture) -> None:
        """Against sacreBLEU itself, and the loss against the log probabilities of the reference, pair by pair."""
        found = self.evaluate(pellucid, capsys, learnt, "--split", "train")
        pairs = pairs_of("train")
        outputs = translator.translate([source for source, _ in pairs])
        expected = sacrebleu.corpus_bleu(outputs, [[target for _, target in pairs]], force=True)
        assert found["bleu"]["score"] == pytest.approx(expected.score)
        assert found["bleu"]["score"] > 90
        assert found["bleu"]["signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
        assert found["chrf"]["score"] > 90
        assert "nc:6" in found["chrf"]["signature"]
        total, tokens = 0.0, 0
        for source, target in pairs:
            wanted = torch.tensor([*translator.target_tokenizer.encode(target), translator.target_tokenizer.end])
            fed = torch.cat((torch.tensor([translator.target_tokenizer.start]), wanted[:-1]))
            logits = translator.logits(translator.ids(source), target_ids=fed[None])[0].double()
            total -= logits.log_softmax(-1).gather(1, wanted[:, None]).sum().item()
            tokens += len(wanted)
        assert found["loss"] == pytest.approx(total / tokens, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-5)
        assert found["split"] == "train"
        assert found["sentences"] == len(pairs) == 104
        assert found["cut"] == 0
        assert found["sentences_per_second"] > 0

    def test_in_words(self, pellucid: Run, learnt: Path, capsys: Capture) -> None:
        """The test split when nothing else is said."""
        assert pellucid("evaluate", learnt) == 0
        out, err = capsys.readouterr()
        assert re.search(r"^BLEU +\d+\.\d\d   nrefs:1\|case:mixed", out)
        assert re.search(r"^loss .* perplexity \d", out, re.MULTILINE)
        assert "(12 sentences)" in out
        assert "test: 12 pairs" in err

    def test_two_files(
        self, pellucid: Run, learnt: Path, pairs_of: PairsOf, translator: Translator, capsys: Capture, tmp_path: Path
    ) -> None:
        """Every line counts, the empty ones too, so that the scores are those of the files as they are."""
        pairs = [*pairs_of("train")[:10], ("", "A B C D"), ("a b c d", "")]
        source, reference, output = (tmp_path / name for name in ("in", "ref", "out"))
        source.write_text("".join(f"{source}\n" for source, _ in pairs), encoding="utf-8")
        reference.write_text("".join(f"{target}\n" for _, target in pairs), encoding="utf-8")
        files = ["--source", source, "--reference", reference]
        found = self.evaluate(pellucid, capsys, learnt, *files, "--output", output, "--beams", 1)
        lines = output.read_text(encoding="utf-8").split("\n")[:-1]
        assert lines == translator.translate([source for source, _ in pairs], beams=1)
        expected = sacrebleu.corpus_bleu(lines, [[target for _, target in pairs]], force=True)
        assert found["bleu"]["score"] == pytest.approx(expected.score)
        assert (found["source"], found["reference"]) == (str(source), str(reference))
        assert "split" not in found

    def test_losses_of_two_files_combine_by_their_tokens(
        self, pellucid: Run, learnt: Path, pairs_of: PairsOf, capsys: Capture, tmp_path: Path
    ) -> None:
        pairs = pairs_of("test")
        parts = {"first": pairs[:2], "second": pairs[2:], "both": pairs}
        losses, tokens = {}, {}
        for name, part in parts.items():
            (tmp_path / f"{name}.x").write_text("".join(f"{source}\n" for source, _ in part))
            (tmp_path / f"{name}.y").write_text("".join(f"{target}\n" for _, target in part))
            files = ["--source", tmp_path / f"{name}.x", "--reference", tmp_path / f"{name}.y"]
            losses[name] = self.evaluate(pellucid, capsys, learnt, *files)["loss"]
            tokens[name] = sum(len(target.split()) + 1 for _, target in part)  # words, and the end token
        weighted = (losses["first"] * tokens["first"] + losses["second"] * tokens["second"]) / tokens["both"]
        assert losses["both"] == pytest.approx(weighted, rel=1e-5)
        assert losses["both"] != pytest.approx((losses["first"] + losses["second"]) / 2, rel=1e-3)

    def test_pairs_left_out_of_a_split_are_reported(self, pellucid: Run, model: Path, capsys: Capture, tmp_path: Path) -> None:
        (tmp_path / "test.tsv").write_text("a b\tB A\nc\t \n")
        config = json.loads((model / "config.json").read_text())
        config["data"]["directory"] = str(tmp_path)
        (model / "config.json").write_text(json.dumps(config))
        assert pellucid("evaluate", model) == 0
        assert "1 x a side empty or only white space, skipped (first: " in capsys.readouterr().err

    def test_a_side_that_is_too_long_is_cut_in_loss_and_translation(
        self, pellucid: Run, learnt: Path, capsys: Capture, tmp_path: Path
    ) -> None:
        (tmp_path / "x").write_text("a\n" + " ".join("b" * 40) + "\n")
        (tmp_path / "y").write_text("A\n" + " ".join("B" * 50) + "\n")
        assert pellucid("evaluate", learnt, "--source", tmp_path / "x", "--reference", tmp_path / "y") == 0
        err = capsys.readouterr().err
        assert "line 2 has 40 tokens" in err
        assert "reference 2 has 50 tokens, only the first 31 are used" in err

    def test_sub_words_in_translations_are_noticed(
        self, pellucid: Run, learnt: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Translator, "_output", lambda self, hypothesis: Output("A@@ B", 0.0, "end"))
        assert pellucid("evaluate", learnt, "--json") == 0
        out, err = capsys.readouterr()
        assert "warning: hypothesis 1 holds the subword mark '@@'" in err
        assert "bleu" in json.loads(out)

    def test_a_model_that_folds_case_is_scored_without_case(
        self, pellucid: Run, config: RunConfig, capsys: Capture, tmp_path: Path
    ) -> None:
        text = TextConfig(tokenizer="word", vocabulary=40, min_frequency=1, lowercase=True)
        config = replace(config, text=text, training=replace(config.training, steps=2))
        train(config, tmp_path / "run")
        found = self.evaluate(pellucid, capsys, tmp_path / "run")
        assert "case:lc" in found["bleu"]["signature"]
        assert "case:lc" in found["chrf"]["signature"]
        assert "case:lc" in (tmp_path / "run" / "model" / "README.md").read_text()  # the validation's signature

    def test_bfloat16(self, pellucid: Run, learnt: Path, capsys: Capture) -> None:
        full = self.evaluate(pellucid, capsys, learnt)["loss"]
        half = self.evaluate(pellucid, capsys, learnt, "--precision", "bfloat16")["loss"]
        assert half != full
        assert half == pytest.approx(full, rel=0.1)


class TestInfo:
    def test_the_machine(self, pellucid: Run, capsys: Capture) -> None:
        assert pellucid("info") == 0
        out = capsys.readouterr().out
        assert f"pellucid      {__version__}" in out
        assert f"torch {torch.__version__}" in out
        assert "cores available" in out

    def test_a_recipe(self, pellucid: Run, capsys: Capture) -> None:
        assert pellucid("info", Path(__file__).parents[2] / "recipes" / "paper-base.yaml") == 0
        out = capsys.readouterr().out
        # 37,000 x 512 shared; an encoder layer 3,152,384, a decoder layer 4,204,032 (weights, biases and norms), six of each
        assert f"{37_000 * 512 + 6 * (3_152_384 + 4_204_032):,} with a vocabulary of 37,000" in out
        assert "6 + 6 layers, d_model 512, post-norm" in out

    def test_a_run_and_its_model(self, pellucid: Run, learnt: Path, translator: Translator, capsys: Capture) -> None:
        count = sum(weight.numel() for weight in translator.model.parameters())
        assert pellucid("info", learnt) == 0
        run = capsys.readouterr().out
        assert "step 200 finished" in run
        assert "dev bleu" in run
        assert pellucid("info", learnt / "model") == 0
        model = capsys.readouterr().out
        for out in (run, model):
            assert f"{count:,}" in out
            assert "translation, x to y" in out
            assert "word tokens, 20 and 20 entries" in out  # 4 control tokens, 8 letters in two cases
        assert "finished" not in model


class TestPlot:
    def test_the_curves_of_a_run(self, pellucid: Run, learnt: Path, capsys: Capture, tmp_path: Path) -> None:
        assert pellucid("plot", learnt, "--out", tmp_path / "curves.png") == 0
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        out, err = capsys.readouterr()
        assert out == ""
        assert "wrote" in err

    def test_two_runs_of_the_same_name(
        self, pellucid: Run, learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("one", "two"):
            (tmp_path / name / "run").mkdir(parents=True)
            shutil.copy(learnt / "metrics.jsonl", tmp_path / name / "run")
        drawn: list[dict[str, Any]] = []
        monkeypatch.setattr("pellucid.base.plots.plot_curves", lambda runs, path, x: drawn.append(runs))
        runs = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
        assert pellucid("plot", *runs, "--out", tmp_path / "both.svg") == 0
        assert [*drawn[0]] == ["one/run", "two/run"]
        assert all(any("dev_bleu" in row for row in rows) for rows in drawn[0].values())

    def test_attention(self, pellucid: Run, learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[Any] = []
        draw = using.plot_attention

        def drawing(*arguments: Any) -> None:
            drawn.append(arguments)
            draw(*arguments)

        monkeypatch.setattr(using, "plot_attention", drawing)
        picture = tmp_path / "attention.png"
        assert pellucid("plot", learnt, "--attention", "a b", "--out", picture) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert pellucid("plot", learnt, "--attention", "a b", "--layer", 0, "--head", 3, "--out", picture) == 0
        for weights, source, target, title, _ in drawn:
            assert source == ["▁a", "▁b", "</s>"]
            assert target[-1] == "</s>"
            assert weights.shape == (len(target), len(source))
            assert weights.sum(1) == pytest.approx(1.0, abs=1e-6)
            assert title.startswith("cross-attention, layer")
        assert "layer 1, mean of all heads" in drawn[0][3]
        assert "layer 0, head 3" in drawn[1][3]


class TestData:
    def test_the_list(self, pellucid: Run, capsys: Capture) -> None:
        assert pellucid("data") == 0
        lines = capsys.readouterr().out.split("\n")
        assert [line.split(" ")[0] for line in lines] == ["builtin", *public_sets.PUBLIC_SETS, ""]
        assert "licence" in lines[1]

    def test_the_built_in_corpus(self, pellucid: Run, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With few pairs in place of the real ones, which take seconds to generate."""
        pairs = [SimpleNamespace(french="l'été", english="summer"), SimpleNamespace(french="un", english="one")]
        monkeypatch.setattr(builtin, "pairs", lambda split: pairs[: 1 + (split == "train")])
        assert pellucid("data", "builtin", "--out", tmp_path / "corpus") == 0
        assert {path.stem for path in (tmp_path / "corpus").iterdir()} == set(builtin.SPLITS)
        assert (tmp_path / "corpus" / "train.tsv").read_text(encoding="utf-8") == "l'été\tsummer\nun\tone\n"
        assert f"{tmp_path / 'corpus' / 'test.tsv'}\t1 pairs\n" in capsys.readouterr().out

    def test_a_local_copy(self, pellucid: Run, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = b"one\n"
        files = (PublicFile("train.en.gz", hashlib.sha256(content).hexdigest(), 10),)
        small = PublicSet("small", "a word", "none", ("en", "fr"), {"train": "train"}, files, None)
        monkeypatch.setattr(public_sets, "PUBLIC_SETS", {"small": small})
        monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "home"))
        (tmp_path / "train.en").write_bytes(content)
        assert pellucid("data", "small", "--from", tmp_path) == 0
        out, err = capsys.readouterr()
        assert out == f"{tmp_path / 'home' / 'small'}\n"
        assert (tmp_path / "home" / "small" / "train.en").read_bytes() == content
        assert "licence: none" in err
        assert "only from a local copy" in err


class TestWholeProcesses:
    """What only a process of its own can show."""

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["train", "--help"], 0),
            (["train", "{recipe}", "--print_config"], 0),
            (["train", "{recipe}", "training.stepz=3", "--out", "run"], 2),
            (["translate"], 2),
        ],
    )
    def test_torch_is_not_imported_for_nothing(self, recipe: Path, tmp_path: Path, arguments: list[str], code: int) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "pellucid", *(part.format(recipe=recipe) for part in arguments)]
        finished = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert finished.returncode == code
        imported = {line.rpartition("|")[2].strip() for line in finished.stderr.split("\n") if line.startswith("import time:")}
        assert "pellucid.cli.main" in imported
        assert imported.isdisjoint({"torch", "numpy", "tokenizers", "sacrebleu", "matplotlib"})

    def test_a_translation_needs_no_compiler(self, learnt: Path) -> None:
        """Torch imports its own for a second when a model is outlined carelessly."""
        command = [sys.executable, "-X", "importtime", "-m", "pellucid", "translate", str(learnt)]
        finished = subprocess.run(command, input=b"a\n", env=ENVIRONMENT, capture_output=True, check=True)
        imported = {line.rpartition("|")[2].strip() for line in finished.stderr.decode().split("\n")}
        assert "pellucid.model.build" in imported
        assert imported.isdisjoint({"torch._dynamo", "sympy", "sacrebleu", "matplotlib"})

    def test_texts_are_utf8_whatever_the_environment_says(self, recipe: Path) -> None:
        command = [sys.executable, "-m", "pellucid", "train", str(recipe), "data.source=français", "--print_config"]
        finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
        assert "source: français\n" in finished.stdout.decode("utf-8")

    def test_in_a_pipe(self, learnt: Path) -> None:
        """Not a word on stderr, not from any library either; nothing is left beside the model."""
        before = sorted(learnt.rglob("*"))
        command = [sys.executable, "-W", "error", "-m", "pellucid", "translate", str(learnt), "--nbest", "2"]
        finished = subprocess.run(command, input="é a\n".encode(), env=ENVIRONMENT, capture_output=True, check=False)
        assert (finished.returncode, finished.stderr) == (0, b"")
        assert finished.stdout.count(b"\n") == 2
        assert sorted(learnt.rglob("*")) == before

    @pytest.mark.parametrize("verb", ["data", "translate"], ids=["noticed at the end", "noticed on the way"])
    def test_a_reader_that_has_had_enough(self, learnt: Path, verb: str) -> None:
        arguments = ["data"] if verb == "data" else ["translate", str(learnt), "--beams", "1"]
        command, pipe = [sys.executable, "-m", "pellucid", *arguments], subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            if verb == "translate":
                process.stdin.write(b"a b c d e f g\n" * 1000)  # the translations are more than stdout's buffer holds
            process.stdin.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0

    def test_a_full_disk_behind_the_pipe(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        command = [sys.executable, "-m", "pellucid", "data"]
        with open("/dev/full", "wb") as full:
            finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)
        assert finished.returncode == 3
        assert finished.stderr == b"error: No space left on device\n"


def test_the_version(pellucid: Run, capsys: Capture) -> None:
    assert pellucid("--version") == 0
    assert capsys.readouterr().out == f"pellucid, version {__version__}\n"


def test_help_names_every_verb(pellucid: Run, capsys: Capture) -> None:
    assert pellucid("-h") == 0
    out = capsys.readouterr().out
    verbs = ("train", "translate", "evaluate", "info", "plot", "data")
    assert all(re.search(rf"^  {verb} ", out, re.MULTILINE) for verb in verbs)
    for verb in verbs:
        assert pellucid(verb, "--help") == 0
        assert "--debug" in capsys.readouterr().out
