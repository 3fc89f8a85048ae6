"""What pages show, found and run: blocks of code with ``<!-- test: NAME -->`` on the line before."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path


def blocks_of(page: Path) -> dict[str, str]:
    """The blocks of a page by name."""
    return dict(re.findall(r"<!-- test: ([\w.]+) -->\n```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))


def run(command: str, directory: Path) -> str:
    """What a command prints, run in a directory as a reader with this environment would."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def served(command: str, directory: Path) -> str:
    """The page that ``pellucid look`` serves until Ctrl-C, asked for once."""
    arguments = [sys.executable, "-m", *shlex.split(command), "--no-browser"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        arguments,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell takes it from what runs in the background
    ) as it:
        assert it.stdout is not None
        url = it.stdout.readline().split()[0]
        with urllib.request.urlopen(url) as answer:
            page: str = answer.read().decode()
        it.send_signal(signal.SIGINT)
        assert it.wait(timeout=60) == 0
    return page
