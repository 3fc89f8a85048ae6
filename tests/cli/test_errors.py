"""Every class of mistake: its exit code, what is said, and that nobody sees a traceback who did not ask for it."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pellucid.base import files
from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.data.formats import Split
from pellucid.tasks.model_directory import WEIGHTS
from pellucid.tasks.translation import Translation
from pellucid.tasks.translator import Translator

Run = Callable[..., int]
Feed = Callable[[bytes], None]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def recipe(config: RunConfig, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


def said(capsys: Capture) -> str:
    """What stands on stderr; nothing is on stdout, and no traceback anywhere."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


class TestUsage:
    """Exit code 2."""

    def test_an_unknown_key_with_its_place_and_the_nearest_one(self, pellucid: Run, tmp_path: Path, capsys: Capture) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("data:\n  corpus: builtin\ntraining:\n  stepz: 100\n")
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 2
        err = said(capsys)
        assert f"error: {recipe}:4: training.stepz: unknown key" in err
        assert "did you mean steps?" in err
        assert not (tmp_path / "run").exists()

    def test_a_wrong_type_and_everything_else_at_once(self, pellucid: Run, tmp_path: Path, capsys: Capture) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("training:\n  steps: many\nmodel:\n  norm: past\n")
        assert pellucid("train", recipe, "decoding.beams=0", "--out", tmp_path / "run") == 2
        err = said(capsys)
        assert "3 mistakes in the configuration" in err
        assert f"{recipe}:2: training.steps" in err
        assert "a whole number" in err
        assert f"{recipe}:4: model.norm" in err
        assert "command line: decoding.beams" in err

    def test_a_recipe_that_is_not_there(self, pellucid: Run, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("train", tmp_path / "none.yaml", "--out", tmp_path / "run") == 2
        assert "none.yaml: no such file" in said(capsys)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["fly"], "No such command 'fly'"),
            (["translate"], "Missing argument 'MODEL'"),
            (["translate", "RUN", "--beams", "0"], "0 is not in the range"),
            (["translate", "RUN", "--alpha", "11"], "11.0 is not in the range"),
            (["translate", "RUN", "--nbest", "3"], "expected: 1 to 2"),
            (["translate", "RUN", "--precision", "int8"], "'int8' is not one of 'float32', 'bfloat16'"),
            (["evaluate", "RUN", "--source", "x"], "--source and --reference belong together"),
            (["evaluate", "RUN", "--source", "x", "--reference", "y", "--split", "test"], "not both"),
            (["data", "builtin"], "--out DIR"),
            (["data", "multi30k", "--out", "x"], "belongs to builtin, and only to it"),
            (["data", "--from", "x"], "--from belongs to the name of a public corpus"),
            (["data", "multi30"], "did you mean multi30k?"),
            (["plot", "RUN"], "Missing option '--out'"),
            (["plot", "RUN", "--out", "x.docx"], "must end in .png, .svg, .pdf, not in '.docx'"),
            (["plot", "RUN", "RUN", "--attention", "a", "--out", "x.png"], "an attention map is of one model"),
            (["plot", "RUN", "--attention", "a", "--layer", "2", "--out", "x.png"], "layer -2 to 1, head 0 to 3"),
            (["plot", "RUN", "--attention", "a", "--head", "4", "--out", "x.png"], "layer -2 to 1, head 0 to 3"),
            (["plot", "RUN", "--attention", "a", "--head", "-1", "--out", "x.png"], "layer -2 to 1, head 0 to 3"),
        ],
    )
    def test_command_lines(
        self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture, arguments: list[str], words: str
    ) -> None:
        feed(b"a\n")
        assert pellucid(*(str(learnt) if argument == "RUN" else argument for argument in arguments)) == 2
        assert words in said(capsys)

    def test_no_verb_shows_what_there_is(self, pellucid: Run, capsys: Capture) -> None:
        assert pellucid() == 2
        assert "translate" in said(capsys)

    @pytest.mark.parametrize("options", [[], ["--attention", "a"]])
    def test_pictures_without_matplotlib(
        self,
        pellucid: Run,
        learnt: Path,
        tmp_path: Path,
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert pellucid("plot", learnt, *options, "--out", tmp_path / "x.png") == 2
        assert said(capsys) == 'error: pictures need matplotlib\n  do next:  pip install "pellucid[plots]"\n'


class TestData:
    """Exit code 3."""

    def test_training_files_that_are_not_there(self, pellucid: Run, recipe: Path, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("train", recipe, f"data.directory={tmp_path / 'corpsu'}", "--out", tmp_path / "run") == 3
        err = said(capsys)
        assert "no such directory" in err
        assert "did you mean corpus?" in err

    def test_a_text_that_is_not_there(self, pellucid: Run, learnt: Path, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("translate", learnt, tmp_path / "in.txt") == 3
        assert "in.txt: no such file" in said(capsys)

    def test_bytes_that_are_not_utf8(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"a\nb \xe9t\xe9\n")
        assert pellucid("translate", learnt) == 3
        err = said(capsys)
        assert "standard input:2: not UTF-8" in err
        assert "byte 0xe9 at byte 2 of the line" in err

    def test_a_split_that_is_not_there(self, pellucid: Run, learnt: Path, capsys: Capture) -> None:
        assert pellucid("evaluate", learnt, "--split", "compositional") == 3
        err = said(capsys)
        assert "no files of the split compositional" in err
        assert "dev.tsv, test.tsv, train.tsv" in err

    def test_files_of_different_lengths(self, pellucid: Run, learnt: Path, tmp_path: Path, capsys: Capture) -> None:
        (tmp_path / "x").write_text("a\nb\n")
        (tmp_path / "y").write_text("A\n")
        assert pellucid("evaluate", learnt, "--source", tmp_path / "x", "--reference", tmp_path / "y") == 3
        assert "x: 2" in said(capsys)

    def test_nothing_to_score(self, pellucid: Run, learnt: Path, tmp_path: Path, capsys: Capture) -> None:
        for name in ("x", "y"):
            (tmp_path / name).write_text("")
        assert pellucid("evaluate", learnt, "--source", tmp_path / "x", "--reference", tmp_path / "y") == 3
        assert "there is nothing to score" in said(capsys)

    def test_attention_to_nothing(self, pellucid: Run, learnt: Path, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("plot", learnt, "--attention", " ", "--out", tmp_path / "x.png") == 3
        assert "an empty text has no attention" in said(capsys)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
    def test_a_disk_that_takes_nothing(
        self, pellucid: Run, recipe: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", refuse)
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 3
        err = said(capsys)
        assert f"cannot be written: {os.strerror(number)}" in err
        assert str(tmp_path / "run" / "config.yaml") in err

    def test_a_picture_in_a_folder_that_is_not_there(
        self, pellucid: Run, learnt: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        """What the system refuses to other libraries is no bug of ours either."""
        assert pellucid("plot", learnt, "--out", tmp_path / "none" / "x.png") == 3
        assert f"error: {tmp_path / 'none' / 'x.png'}: No such file or directory" in said(capsys)

    def test_a_run_where_a_file_is(self, pellucid: Run, recipe: Path, capsys: Capture) -> None:
        assert pellucid("train", recipe, "--out", recipe) == 3
        assert "File exists" in said(capsys)


def edit(model: Path, **changes: Any) -> None:
    """Change config.json at its top level."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **changes}))


def save_altered(model: Path, alter: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = {name: weight.clone() for name, weight in load_file(model / WEIGHTS).items()}
    alter(weights)
    save_file(weights, model / WEIGHTS)


class Trap:
    """Unpickled, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def with_pickled_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(model / "trapped")))


def without(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


def with_content(name: str, content: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_text(content)


def cut(model: Path) -> None:
    (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:-1])


def with_damaged_header(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[:8] + b"}" + content[9:])


def with_another_tokenizer(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["z"] = 20
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


NORM = "encoder.norm.weight"


class TestModel:
    """Exit code 4."""

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (without("config.json"), ["not a model directory", "expected: config.json in it"]),
            (without("tokenizer.json"), ["tokenizer.json: the tokenizer cannot be read"]),
            (without(WEIGHTS), ["model.safetensors: the weights are missing"]),
            (with_content("config.json", "{"), ["config.json: the configuration cannot be read"]),
            (with_content("config.json", "[" * 100_000), ["config.json: the configuration cannot be read"]),
            (with_content("config.json", "[1]"), ["config.json: not the configuration of a pellucid model"]),
            (with_content("config.json", '{"model_type": "bert"}'), ["not the configuration of a pellucid model"]),
            (lambda model: edit(model, format_version=99), ["expected: version 1", "found:    99"]),
            (lambda model: edit(model, task="chess"), ["config.json: task", "found:    the text 'chess'"]),
            (with_content("tokenizer.json", "{}"), ["tokenizer.json: the tokenizer is damaged"]),
            (with_another_tokenizer, ["does not belong to this model", "expected: 20 tokens", "found:    21 tokens"]),
            (with_pickled_weights, ["the weights are missing", "pytorch_model.bin", "pickled weights can run code"]),
            (with_damaged_header, ["the weights are damaged"]),
            (with_content(WEIGHTS, ""), ["the weights are damaged"]),
            (cut, ["the weights are damaged"]),
            (
                lambda model: save_altered(model, lambda weights: weights.update({NORM: torch.ones(31)})),
                [f"do not fit the configuration at {NORM}", "expected: (32,)", "found:    (31,)"],
            ),
            (
                lambda model: save_altered(model, lambda weights: weights.pop(NORM)),
                [f"do not fit the configuration at {NORM}", "found:    no such weight"],
            ),
            (
                lambda model: save_altered(model, lambda weights: weights.update(more=torch.ones(1))),
                ["do not fit the configuration at more", "expected: no such weight"],
            ),
        ],
    )
    def test_a_damaged_model(
        self, pellucid: Run, feed: Feed, model: Path, capsys: Capture, damage: Callable[[Path], object], words: list[str]
    ) -> None:
        damage(model)
        feed(b"a\n")
        assert pellucid("translate", model) == 4
        err = said(capsys)
        assert [word for word in words if word not in err] == []
        assert not (model / "trapped").exists()
        assert pellucid("info", model) == 4

    def test_the_trap_works(self, tmp_path: Path) -> None:
        """Or the test above would prove nothing."""
        pickle.loads(pickle.dumps(Trap(tmp_path / "trapped")))
        assert (tmp_path / "trapped").exists()

    def test_weights_that_are_not_numbers_any_more(self, pellucid: Run, feed: Feed, model: Path, capsys: Capture) -> None:
        save_altered(model, lambda weights: weights[NORM].fill_(float("nan")))
        feed(b"a b\n")
        assert pellucid("translate", model) == 4
        assert "'a b'" in said(capsys)  # the sentence it could not choose a token for

    @pytest.mark.parametrize("verb", [["translate"], ["evaluate"], ["info"], ["plot", "--out", "x.png"]])
    def test_a_directory_that_is_no_run(
        self, pellucid: Run, feed: Feed, tmp_path: Path, capsys: Capture, verb: list[str]
    ) -> None:
        feed(b"")
        (tmp_path / "notes.txt").write_text("")
        assert pellucid(*verb, tmp_path) == 4
        err = said(capsys)
        assert str(tmp_path) in err
        assert "give the directory of a run" in err

    @pytest.mark.parametrize(("name", "found"), [("none", "no such directory"), ("notes.txt", "a file")])
    def test_what_is_no_directory_at_all(
        self, pellucid: Run, feed: Feed, tmp_path: Path, capsys: Capture, name: str, found: str
    ) -> None:
        feed(b"")
        (tmp_path / "notes.txt").write_text("")
        assert pellucid("translate", tmp_path / name) == 4
        assert f"found:    {found}" in said(capsys)

    def test_a_run_that_has_no_model_yet(self, pellucid: Run, feed: Feed, tmp_path: Path, capsys: Capture) -> None:
        feed(b"")
        (tmp_path / "checkpoints").mkdir()
        assert pellucid("translate", tmp_path) == 4
        assert "has not written a model yet" in said(capsys)


def beyond_this_machine() -> torch.Tensor:
    return torch.empty(2**62, dtype=torch.uint8)


def beyond_python() -> bytes:
    return bytes(2**62)


def beyond_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


class TestLimits:
    """Exit codes 5 and 6."""

    def test_a_loss_that_is_not_finite(
        self, pellucid: Run, recipe: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loss = Translation.loss
        monkeypatch.setattr(Translation, "loss", lambda *arguments: loss(*arguments) * float("nan"))
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 5
        assert "pair " in said(capsys)

    @pytest.mark.parametrize("allocate", [beyond_this_machine, beyond_python, beyond_the_gpu])
    def test_memory_that_runs_out_while_translating(
        self,
        pellucid: Run,
        feed: Feed,
        learnt: Path,
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
        allocate: Callable[[], object],
    ) -> None:
        monkeypatch.setattr(Translator, "_search", lambda *arguments: allocate())
        feed(b"a\n")
        assert pellucid("translate", learnt) == 6
        assert said(capsys).startswith("error: out of memory")


class TestBugs:
    """Exit code 1."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def count(split: Split) -> None:
            raise KeyError("lost")

        monkeypatch.setattr(Split, "check_counts", count)

    @pytest.mark.usefixtures("broken")
    def test_a_bug_is_said_to_be_ours(self, pellucid: Run, learnt: Path, capsys: Capture) -> None:
        assert pellucid("evaluate", learnt) == 1
        err = said(capsys)
        assert "error: a bug in pellucid, not your mistake: KeyError: 'lost'" in err
        assert "run it again with --debug" in err

    @pytest.mark.usefixtures("broken")
    @pytest.mark.parametrize("place", [0, 2])
    def test_debug_shows_where(self, pellucid: Run, learnt: Path, capsys: Capture, place: int) -> None:
        """Before the verb or behind it; and only in the call that asks for it."""
        arguments = ["evaluate", learnt]
        assert pellucid(*arguments[:place], "--debug", *arguments[place:]) == 1
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert ", in count\n" in err
        assert pellucid(*arguments) == 1
        said(capsys)

    def test_debug_shows_where_for_mistakes_too(self, pellucid: Run, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("info", tmp_path, "--debug") == 4
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert "in find" in err
        assert "error: " in err


class TestInterruptions:
    """Exit codes 130 and 143."""

    def test_ctrl_c_while_waiting_for_input(
        self, pellucid: Run, learnt: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Keyboard(io.BytesIO):
            def __next__(self) -> bytes:
                raise KeyboardInterrupt

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Keyboard()))
        assert pellucid("translate", learnt) == 130
        assert said(capsys) == "interrupted\n"

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_to_a_training_process(self, config: RunConfig, tmp_path: Path, number: signal.Signals, code: int) -> None:
        recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
        recipe.write_text(to_yaml(replace(config, training=replace(config.training, steps=1_000_000, validate_every=0))))
        command = [sys.executable, "-m", "pellucid", "train", str(recipe), "--out", str(run)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
            deadline = time.monotonic() + 120
            while not list(run.glob("checkpoints/step-*")) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(number)
            out, err = process.communicate()
        assert process.returncode == code, err
        assert out == ""
        assert err.endswith(f"stopped by {number.name}\n")
        assert "Traceback" not in err
        last = max(run.glob("checkpoints/step-*"))
        assert json.loads((last / "progress.json").read_text())["finished"] is False
