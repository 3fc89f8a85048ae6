"""The project as a whole: its public face, its floors, its dependencies, and what its files must not mention."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pellucid

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "check_machine.py"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> dict[str, Requirement]:
    """Everything that pyproject.toml asks for, core and extras, by its normalised name."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@functools.cache
def text_files() -> dict[str, str]:
    """Content of every text file that is or would be committed, by its name."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git cannot say which files belong to the project")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    contents = {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


class TestPublicFace:
    def test_the_version_is_that_of_the_installed_package(self) -> None:
        assert pellucid.__version__ == importlib.metadata.version("pellucid")

    def test_the_changelog_knows_the_version(self) -> None:
        assert pellucid.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    def test_load_is_the_one_of_the_tasks(self) -> None:
        assert pellucid.load is importlib.import_module("pellucid.tasks.load").load

    def test_a_name_that_is_not_there_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no_such_name"):
            pellucid.no_such_name  # noqa: B018

    def test_lists_of_public_names_name_what_is_there(self) -> None:
        listing = [
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for path in (ROOT / "pellucid").rglob("*.py")
            if "__all__ = " in path.read_text(encoding="utf-8")
        ]
        assert "pellucid.data.corpus" in listing
        public = [(module, name) for module in listing for name in importlib.import_module(module).__all__]
        assert [found for found in public if not hasattr(importlib.import_module(found[0]), found[1])] == []

    def test_help_imports_neither_torch_nor_numpy(self) -> None:
        run = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "pellucid", "--help"], capture_output=True, text=True, check=True
        )
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
        assert {"click", "pellucid"} <= imported  # else the report was misread
        assert not imported & {"torch", "numpy", "tokenizers", "sacrebleu", "matplotlib"}
        assert "translate" in run.stdout


class TestFloors:
    def test_every_floor_of_the_house_has_its_place_in_the_contract(self) -> None:
        (contract,) = PROJECT["tool"]["importlinter"]["contracts"]
        named = {floor for layer in contract["layers"] for floor in layer.split(" | ")}
        there = {f"pellucid.{path.parent.name}" for path in (ROOT / "pellucid").glob("*/__init__.py")}
        assert named == there


class TestDependencies:
    def test_each_has_its_reason_in_the_documentation(self) -> None:
        reasons = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
        missing = [requirement.name for requirement in requirements().values() if requirement.name not in reasons]
        assert missing == []

    def test_each_is_pinned_to_a_version_within_its_range(self) -> None:
        pinned = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in pins())}
        wanted = requirements()
        assert wanted.keys() <= pinned.keys()
        assert [str(wish) for name, wish in wanted.items() if not wish.specifier.contains(pinned[name])] == []

    def test_pins_are_sorted_and_name_no_build(self) -> None:
        assert pins() == sorted(pins(), key=str.lower)
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins())


class TestWhatFilesMention:
    @pytest.mark.parametrize(
        "pattern",
        [
            pytest.param(r"(?<![\w/.~-])/(?:work|root)\b", id="paths of one machine"),
            pytest.param(r"(?i)\b(?:pypi|pythonhosted|npmjs|anaconda)\.(?:org|com|io)\b", id="registries"),
            pytest.param(r"(?i)\bdownload\.(?:pytorch)\.", id="registries of builds"),
        ],
    )
    def test_no_file_names(self, pattern: str) -> None:
        assert {"pyproject.toml", "pellucid/__init__.py"} <= set(text_files())
        found = [f"{name}: {match.group()}" for name, text in text_files().items() for match in re.finditer(pattern, text)]
        assert found == []


class TestMachineCheck:
    """What the Makefile says before it makes .venv."""

    @pytest.fixture
    def check(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("check_machine", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @pytest.fixture
    def roomy(self, check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        monkeypatch.setattr(check.shutil, "disk_usage", lambda path: SimpleNamespace(free=50e9))
        return check

    def test_nothing_is_missing(self, roomy: ModuleType, tmp_path: Path) -> None:
        assert roomy.problem(str(tmp_path / "venv")) is None

    def test_python_is_too_old(self, roomy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(roomy.sys, "version_info", (3, 10, 13, "final", 0))
        assert "3.11 or newer is needed" in roomy.problem("venv")
        assert "is 3.10.13" in roomy.problem("venv")

    @pytest.mark.parametrize("module", ["venv", "ensurepip"])
    def test_no_venv_module(self, roomy: ModuleType, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
        assert "apt-get install python3-venv" in roomy.problem("venv")

    def test_no_room(self, check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        room = {os.path.realpath(tmp_path): SimpleNamespace(free=1.2e9)}  # asked of the disk that will hold the environment
        monkeypatch.setattr(check.shutil, "disk_usage", room.__getitem__)
        assert "takes 1.8 GB, and 1.2 GB are free" in check.problem(str(tmp_path / "venv"))

    def test_what_is_installed_already_needs_no_room(
        self, check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(check.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.2e9))
        (tmp_path / "venv").mkdir()
        with (tmp_path / "venv" / "installed").open("wb") as sparse:
            sparse.truncate(700_000_000)
        assert check.problem(str(tmp_path / "venv")) is None

    def test_the_message_is_one_line_and_the_exit_code_not_zero(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
        monkeypatch.setattr(sys, "argv", ["check_machine.py", "no/such/venv"])
        with pytest.raises(SystemExit) as leaving:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        # A text as the code of SystemExit is printed on stderr, and the process exits with 1.
        assert re.fullmatch(r"error: no room for no/such/venv: .*", str(leaving.value.code))
