"""Every class of mistake: its exit code, what is said, and that nobody sees a traceback who did not ask for it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.base import files
from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.data.formats import Split
from pellucid.tasks.translation import Translation
from pellucid.tasks.translator import Translator

Run = Callable[..., int]
Feed = Callable[[bytes], None]
Said = Callable[[], str]
Capture = pytest.CaptureFixture[str]


class TestUsage:
    """Exit code 2."""

    def test_an_unknown_key_with_its_place_and_the_nearest_one(self, pellucid: Run, tmp_path: Path, said: Said) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("data:\n  corpus: builtin\ntraining:\n  stepz: 100\n")
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 2
        err = said()
        assert f"error: {recipe}:4: training.stepz: unknown key" in err
        assert "did you mean steps?" in err
        assert not (tmp_path / "run").exists()

    def test_a_wrong_type_and_everything_else_at_once(self, pellucid: Run, tmp_path: Path, said: Said) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("training:\n  steps: many\nmodel:\n  norm: past\n")
        assert pellucid("train", recipe, "decoding.beams=0", "--out", tmp_path / "run") == 2
        err = said()
        assert "3 mistakes in the configuration" in err
        assert f"{recipe}:2: training.steps" in err
        assert "a whole number" in err
        assert f"{recipe}:4: model.norm" in err
        assert "command line: decoding.beams" in err

    def test_a_recipe_that_is_not_there(self, pellucid: Run, tmp_path: Path, said: Said) -> None:
        assert pellucid("train", tmp_path / "none.yaml", "--out", tmp_path / "run") == 2
        assert "none.yaml: no such file" in said()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["fly"], "No such command 'fly'"),
            (["translate"], "Missing argument 'MODEL'"),
            (["translate", "RUN", "--beams", "0"], "0 is not in the range"),
            (["translate", "RUN", "--alpha", "11"], "11.0 is not in the range"),
            (["translate", "RUN", "--nbest", "3"], "expected: 1 to 2"),
            (["translate", "RUN", "--precision", "int4"], "'int4' is not one of 'float32', 'bfloat16', 'int8'"),
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
    def test_command_lines(self, pellucid: Run, feed: Feed, learnt: Path, said: Said, arguments: list[str], words: str) -> None:
        feed(b"a\n")
        assert pellucid(*(str(learnt) if argument == "RUN" else argument for argument in arguments)) == 2
        assert words in said()

    def test_no_verb_shows_what_there_is(self, pellucid: Run, said: Said) -> None:
        assert pellucid() == 2
        assert "translate" in said()

    @pytest.mark.parametrize("options", [[], ["--attention", "a"]])
    def test_pictures_without_matplotlib(
        self,
        pellucid: Run,
        learnt: Path,
        tmp_path: Path,
        said: Said,
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert pellucid("plot", learnt, *options, "--out", tmp_path / "x.png") == 2
        assert said() == 'error: pictures need matplotlib\n  do next:  pip install "pellucid[plots]"\n'


class TestData:
    """Exit code 3."""

    def test_training_files_that_are_not_there(self, pellucid: Run, recipe: Path, tmp_path: Path, said: Said) -> None:
        assert pellucid("train", recipe, f"data.directory={tmp_path / 'corpsu'}", "--out", tmp_path / "run") == 3
        err = said()
        assert "no such directory" in err
        assert "did you mean corpus?" in err

    def test_a_text_that_is_not_there(self, pellucid: Run, learnt: Path, tmp_path: Path, said: Said) -> None:
        assert pellucid("translate", learnt, tmp_path / "in.txt") == 3
        assert "in.txt: no such file" in said()

    def test_bytes_that_are_not_utf8(self, pellucid: Run, feed: Feed, learnt: Path, said: Said) -> None:
        feed(b"a\nb \xe9t\xe9\n")
        assert pellucid("translate", learnt) == 3
        err = said()
        assert "standard input:2: not UTF-8" in err
        assert "byte 0xe9 at byte 2 of the line" in err

    def test_a_split_that_nobody_gave(self, pellucid: Run, model: Path, said: Said) -> None:
        config = json.loads((model / "config.json").read_text())
        config["data"] |= {"directory": None, "train": ["a.tsv"], "dev": ["b.tsv"]}
        (model / "config.json").write_text(json.dumps(config))
        assert pellucid("evaluate", model, "--split", "compositional") == 2
        err = said()
        assert "no data given for the split compositional\n  expected: train, dev\n  do next:  ask for one of these" in err

    def test_a_split_that_is_not_there(self, pellucid: Run, learnt: Path, said: Said) -> None:
        assert pellucid("evaluate", learnt, "--split", "compositional") == 3
        err = said()
        assert "no files of the split compositional" in err
        assert "dev.tsv, test.tsv, train.tsv" in err

    def test_files_of_different_lengths(self, pellucid: Run, learnt: Path, tmp_path: Path, said: Said) -> None:
        (tmp_path / "x").write_text("a\nb\n")
        (tmp_path / "y").write_text("A\n")
        assert pellucid("evaluate", learnt, "--source", tmp_path / "x", "--reference", tmp_path / "y") == 3
        assert "x: 2" in said()

    def test_nothing_to_score(self, pellucid: Run, learnt: Path, tmp_path: Path, said: Said) -> None:
        for name in ("x", "y"):
            (tmp_path / name).write_text("")
        assert pellucid("evaluate", learnt, "--source", tmp_path / "x", "--reference", tmp_path / "y") == 3
        assert "there is nothing to score" in said()

    def test_attention_to_nothing(self, pellucid: Run, learnt: Path, tmp_path: Path, said: Said) -> None:
        assert pellucid("plot", learnt, "--attention", " ", "--out", tmp_path / "x.png") == 3
        assert "an empty text has no attention" in said()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
    def test_a_disk_that_takes_nothing(
        self, pellucid: Run, recipe: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", refuse)
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 3
        err = said()
        assert f"cannot be written: {os.strerror(number)}" in err
        assert str(tmp_path / "run" / "config.yaml") in err

    def test_a_picture_in_a_folder_that_is_not_there(self, pellucid: Run, learnt: Path, tmp_path: Path, said: Said) -> None:
        """What the system refuses is no bug of ours."""
        assert pellucid("plot", learnt, "--out", tmp_path / "none" / "x.png") == 3
        assert f"error: {tmp_path / 'none' / 'x.png'}: cannot be written: No such file or directory" in said()

    def test_a_run_where_a_file_is(self, pellucid: Run, recipe: Path, said: Said) -> None:
        assert pellucid("train", recipe, "--out", recipe) == 3
        assert "File exists" in said()


def beyond_this_machine() -> torch.Tensor:
    return torch.empty(2**62, dtype=torch.uint8)


def beyond_python() -> bytes:
    return bytes(2**62)


def beyond_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


class TestLimits:
    """Exit codes 5 and 6."""

    def test_a_loss_that_is_not_finite(
        self, pellucid: Run, recipe: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loss = Translation.loss
        monkeypatch.setattr(Translation, "loss", lambda *arguments: loss(*arguments) * float("nan"))
        assert pellucid("train", recipe, "--out", tmp_path / "run") == 5
        assert "pair " in said()

    @pytest.mark.parametrize("allocate", [beyond_this_machine, beyond_python, beyond_the_gpu])
    def test_memory_that_runs_out_while_translating(
        self,
        pellucid: Run,
        feed: Feed,
        learnt: Path,
        said: Said,
        monkeypatch: pytest.MonkeyPatch,
        allocate: Callable[[], object],
    ) -> None:
        monkeypatch.setattr(Translator, "_search", lambda *arguments: allocate())
        feed(b"a\n")
        assert pellucid("translate", learnt) == 6
        assert said().startswith("error: out of memory")


class TestBugs:
    """Exit code 1."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def count(split: Split) -> None:
            raise KeyError("lost")

        monkeypatch.setattr(Split, "check_counts", count)

    @pytest.mark.usefixtures("broken")
    def test_a_bug_is_said_to_be_ours(self, pellucid: Run, learnt: Path, said: Said) -> None:
        assert pellucid("evaluate", learnt) == 1
        err = said()
        assert "error: a bug in pellucid, not your mistake: KeyError: 'lost'" in err
        assert "run it again with --debug" in err

    @pytest.mark.usefixtures("broken")
    @pytest.mark.parametrize("place", [0, 2])
    def test_debug_shows_where(self, pellucid: Run, learnt: Path, capsys: Capture, said: Said, place: int) -> None:
        """Before the verb or behind it; and only in the call that asks for it."""
        arguments = ["evaluate", learnt]
        assert pellucid(*arguments[:place], "--debug", *arguments[place:]) == 1
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert ", in count\n" in err
        assert pellucid(*arguments) == 1
        said()

    def test_debug_shows_where_for_mistakes_too(self, pellucid: Run, tmp_path: Path, capsys: Capture) -> None:
        assert pellucid("info", tmp_path, "--debug") == 4
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert "in find" in err
        assert "error: " in err


class TestInterruptions:
    """Exit codes 130 and 143."""

    def test_ctrl_c_while_waiting_for_input(
        self, pellucid: Run, learnt: Path, said: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Keyboard(io.BytesIO):
            def __next__(self) -> bytes:
                raise KeyboardInterrupt

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Keyboard()))
        assert pellucid("translate", learnt) == 130
        assert said() == "interrupted\n"

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
