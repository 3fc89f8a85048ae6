"""Models that cannot be used: exit code 4, and the file, what was expected and what was found."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pellucid.tasks.model_directory import WEIGHTS

Run = Callable[..., int]
Feed = Callable[[bytes], None]
Said = Callable[[], str]


def edit(model: Path, /, **changes: Any) -> None:
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


def with_endless(name: str) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to("/dev/zero")

    return damage


def with_a_lying_header(model: Path) -> None:
    (model / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def with_size(stack: str | None, **sizes: int) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        config = json.loads((model / "config.json").read_text())["model"]
        (config if stack is None else config[stack]).update(sizes)
        edit(model, model=config)

    return damage


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
            (with_a_lying_header, ["the weights are damaged", "header too large"]),
            (with_endless("tokenizer.json"), ["tokenizer.json: the model directory holds something to read without end"]),
            (with_endless("controls.json"), ["controls.json: the model directory holds something to read without end"]),
            (with_endless("config.json"), ["not a model directory"]),
            (with_size("encoder", n_layers=10**8), ["model.encoder.n_layers: must be at most 1,000, is 100,000,000"]),
            (with_size(None, max_length=10**12), ["model.max_length: must be at most 1,000,000"]),
            (with_size(None, d_model=10**12), ["model.d_model: must be at most 1,000,000"]),
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
        self, pellucid: Run, feed: Feed, model: Path, said: Said, damage: Callable[[Path], object], words: list[str]
    ) -> None:
        damage(model)
        feed(b"a\n")
        assert pellucid("translate", model) == 4
        err = said()
        assert [word for word in words if word not in err] == []
        assert not (model / "trapped").exists()
        assert pellucid("info", model) == 4

    def test_the_trap_works(self, tmp_path: Path) -> None:
        """Or the test above would prove nothing."""
        pickle.loads(pickle.dumps(Trap(tmp_path / "trapped")))
        assert (tmp_path / "trapped").exists()

    def test_weights_that_are_not_numbers_any_more(self, pellucid: Run, feed: Feed, model: Path, said: Said) -> None:
        save_altered(model, lambda weights: weights[NORM].fill_(float("nan")))
        feed(b"a b\n")
        assert pellucid("translate", model) == 4
        assert "'a b'" in said()  # the sentence it could not choose a token for

    @pytest.mark.parametrize("verb", [["translate"], ["evaluate"], ["info"], ["plot", "--out", "x.png"]])
    def test_a_directory_that_is_no_run(self, pellucid: Run, feed: Feed, tmp_path: Path, said: Said, verb: list[str]) -> None:
        feed(b"")
        (tmp_path / "notes.txt").write_text("")
        assert pellucid(*verb, tmp_path) == 4
        err = said()
        assert str(tmp_path) in err
        assert "give the directory of a run" in err

    @pytest.mark.parametrize(("name", "found"), [("none", "no such directory"), ("notes.txt", "a file")])
    def test_what_is_no_directory_at_all(
        self, pellucid: Run, feed: Feed, tmp_path: Path, said: Said, name: str, found: str
    ) -> None:
        feed(b"")
        (tmp_path / "notes.txt").write_text("")
        assert pellucid("translate", tmp_path / name) == 4
        assert f"found:    {found}" in said()

    def test_a_run_that_has_no_model_yet(self, pellucid: Run, feed: Feed, tmp_path: Path, said: Said) -> None:
        feed(b"")
        (tmp_path / "checkpoints").mkdir()
        assert pellucid("translate", tmp_path) == 4
        assert "has not written a model yet" in said()
