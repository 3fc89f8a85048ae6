"""What the machine has: free memory, what is missing, numbers in words."""

from __future__ import annotations

import re
import tomllib
import webbrowser
from importlib import metadata
from pathlib import Path

import pytest

from pellucid.base import machine

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_extras_are_those_of_the_project() -> None:
    for_users = PROJECT["optional-dependencies"].keys() - {"dev", "benchmarks"}
    assert {extra.name for extra in machine.EXTRAS} == for_users


@pytest.mark.parametrize("extra", machine.EXTRAS, ids=lambda extra: extra.name)
def test_each_extra_brings_its_modules(extra: machine.Extra) -> None:
    """By what the installed packages say of themselves; those that are not installed are left to the names."""
    packages = [re.split(r"[<>=]", package)[0] for package in PROJECT["optional-dependencies"][extra.name]]
    assert len(packages) == len(extra.modules)
    here = metadata.packages_distributions()
    for package, module in zip(packages, extra.modules, strict=True):
        if module in here:
            assert package in [name.lower().replace("_", "-") for name in here[module]]


def test_what_is_missing_is_named_with_its_use_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda module: None if module == "onnxruntime" else object())
    monkeypatch.setattr(webbrowser, "get", lambda: object())
    monkeypatch.setattr(machine.shutil, "which", lambda name: name if name == "g++" else None)
    assert machine.missing() == ['onnx: pellucid export --to onnx (pip install "pellucid[onnx]")']


def test_no_browser_and_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise webbrowser.Error

    monkeypatch.setattr(machine, "find_spec", lambda module: object())
    monkeypatch.setattr(webbrowser, "get", none)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    compiler, browser = machine.missing()
    assert compiler.startswith("C++ compiler: training.compile and --compile")
    assert browser.startswith("browser: the pages of pellucid look")


class TestFreeMemory:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
        monkeypatch.setattr(machine, "_MEMORY", tmp_path / "meminfo")
        monkeypatch.setattr(machine, "_GROUP", tmp_path)

    def test_of_the_machine(self, tmp_path: Path) -> None:
        assert machine.free_memory() == 2_048_000
        (tmp_path / "memory.max").write_text("max\n")
        (tmp_path / "memory.current").write_text("5\n")
        assert machine.free_memory() == 2_048_000

    def test_of_a_container(self, tmp_path: Path) -> None:
        (tmp_path / "memory.max").write_text("1000000\n")
        (tmp_path / "memory.current").write_text("400000\n")
        assert machine.free_memory() == 600_000

    def test_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "meminfo").unlink()
        assert machine.free_memory() is None


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (7_640_000, "7.6 MB"), (123_456_789, "123 MB"), (1.5e12, "1.5 TB")],
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert machine.in_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (1500, "25 min"), (5700, "95 min"), (12_000, "3 h 20 min"), (187_200, "2 days 4 h")],
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert machine.in_time(seconds) == words
