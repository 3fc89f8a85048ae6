"""The commands, and models by their name on the hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from saved_models import saved

from pellucid.base.errors import DataError, UsageError
from pellucid.cli.main import main
from pellucid.exchange import hub
from pellucid.tasks.model_directory import WEIGHTS, read_config


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved("gpt2", tmp_path / "theirs")
    capsys.readouterr()
    assert call("import", tmp_path / "theirs", tmp_path / "ours") == 0
    assert call("export", tmp_path / "ours", tmp_path / "back", "--family", "gpt2") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "written as GPT2LMHeadModel" in err
    first, second = load_file(tmp_path / "theirs" / WEIGHTS), load_file(tmp_path / "back" / WEIGHTS)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert call("export", tmp_path / "ours", tmp_path / "other", "--family", "llama") == 2
    shutil.rmtree(tmp_path / "ours")
    (tmp_path / "theirs" / WEIGHTS).rename(tmp_path / "theirs" / "pytorch_model.bin")
    assert call("import", tmp_path / "theirs", tmp_path / "ours") == 4
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The calls of the hub's library, which is off and brings one model."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> None:
        calls.append({"name": name, **options})
        if name != "some/model":
            raise OSError("no route to host")
        saved("gpt2", options["local_dir"])

    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_a_model_of_the_hub(snapshots: list[dict[str, Any]], tmp_path: Path) -> None:
    assert call("import", "some/model", tmp_path / "ours") == 0
    assert read_config(tmp_path / "ours").task == "language_modelling"
    (call_made,) = snapshots
    assert call_made["local_dir"] == tmp_path / "home" / "models" / "some--model"
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in call_made["allow_patterns"])


def test_no_network(snapshots: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("import", "other/model", tmp_path / "ours") == DataError.exit_code
    assert "no route to host" in capsys.readouterr().err


def test_the_library_of_the_hub_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pellucid\[hub\]"):
        hub.fetch("some/model")
