"""Runs of two processes that are hurt on purpose: a rank, or ranks and the agent that started them, killed with kill -9.

The agent is that of ``torchrun``. It and its ranks are forked from a process that has imported everything, so that a run takes
a second and not the ten that the imports of three processes take.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.multiprocessing import _prctl_pr_set_pdeathsig

from benchmarks.faults import Ended, Runs, outcome, without_pictures
from pellucid.base.config import RunConfig
from pellucid.cli.main import main
from pellucid.training import loop
from pellucid.training.parallel import ROLL_CALL

RANKS = 2
TIMEOUT = 20  # of the runs, in seconds: what a living rank may let the other wait
SLACK = 60.0  # seconds more: a rank whose agent dies while it connects tries several addresses, each for the whole time-out

# As a process that was just started has them.
HANDLERS = (
    (signal.SIGINT, signal.default_int_handler),
    *((number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)),
)

# Who is killed: "agent" or the number of a rank.
VICTIMS: tuple[tuple[str, ...], ...] = (("0",), ("1",), ("agent", "0"), ("agent", "1"), ("agent", "0", "1"))


def two_ranks(config: RunConfig) -> RunConfig:
    """The tiny run for two processes, with more steps, so that a good part of its time is steps."""
    training = replace(config.training, steps=15, accumulate=3)  # of three batches two ranks take a half each
    return replace(config, training=training, runtime=replace(config.runtime, timeout=TIMEOUT))


def _note(run: Path, rank: str) -> Path:
    """Where a rank notes its process and its examples."""
    return run.with_suffix(f".examples-{rank}")


def _end_note(run: Path, rank: str) -> Path:
    """Where a rank that is done notes its process."""
    return run.with_suffix(f".ended-{rank}")


def _close_sockets() -> None:
    """Those that this process was forked with."""
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.close(number)


def _log_examples(note: Path) -> None:
    """Have the loop note the step and the examples of every batch that is taken."""
    take = loop.Trainer._next_examples

    def taking(self: loop.Trainer) -> Any:
        numbers = take(self)
        with open(note, "a") as file:
            file.write(f"{self.progress.step} {numbers.tolist()}\n")
        return numbers

    loop.Trainer._next_examples = taking  # type: ignore[method-assign]


def _rank(recipe: Path, run: Path) -> None:
    """One rank: ``pellucid train``, its examples noted beside the run."""
    agent = os.getppid()
    # As the launcher of commands has it: a rank is not told of its agent's death, has signals of its own, and none of the
    # agent's sockets: where others would wait for the agent must not stay open when it is dead.
    _prctl_pr_set_pdeathsig(0)
    _close_sockets()
    for number, handler in HANDLERS:
        signal.signal(number, handler)
    note = _note(run, os.environ["RANK"])
    with open(note, "a") as file:
        file.write(f"begins {os.getpid()}\n")
    _log_examples(note)
    try:
        with without_pictures():
            main(["train", str(recipe), "--out", str(run)])
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        if leaving.code:
            os._exit(int(leaving.code))
    _end_note(run, os.environ["RANK"]).write_text(str(os.getpid()))
    _prctl_pr_set_pdeathsig(signal.SIGKILL)  # only the agent ends a rank that is done
    if os.getppid() != agent:
        os._exit(0)


@dataclass
class Launched:
    """An agent with its ranks, in a process group of their own."""

    agent: int
    run: Path
    began: dict[str, int]  # what each rank had noted before

    def ranks(self) -> dict[str, int]:
        """The processes of the ranks that have begun, by rank."""
        found = {}
        for rank in map(str, range(RANKS)):
            lines = _lines(_note(self.run, rank))[self.began[rank] :]
            for line in lines:
                if line.startswith("begins"):
                    found[rank] = int(line.split()[1])
        return found

    def agent_ended(self) -> bool:
        """Whether the agent is gone; it can still be waited for."""
        return os.waitid(os.P_PID, self.agent, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def living(self) -> bool:
        """Whether any of these processes still runs."""
        if not self.agent_ended():
            return True
        return any(_runs(process) for process in self.ranks().values())

    def end(self, seconds: float) -> Ended:
        """Wait for all to leave; those that have not done so in time are killed, and told of."""
        deadline = time.monotonic() + seconds
        while self.living() and time.monotonic() < deadline:
            time.sleep(0.02)
        left = self.living()
        if left:
            os.killpg(self.agent, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.agent, 0)[1])
        return Ended(code, self.run.with_suffix(".said").read_text(errors="replace"), left, 0)


def launch(runs: Runs, run: Path) -> Launched:
    """Begin a run of two ranks."""
    began = {rank: len(_lines(_note(run, rank))) for rank in map(str, range(RANKS))}
    agent = os.fork()
    if agent:
        return Launched(agent, run, began)
    code = 1
    try:
        os.setsid()
        for number, handler in HANDLERS:
            signal.signal(number, handler)
        said = os.open(run.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=RANKS,
            run_id=run.name,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            start_method="fork",
        )
        elastic_launch(config, _rank)(runs.recipe, run)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def whole(runs: Runs, run: Path) -> tuple[dict[str, str], float]:
    """What an undisturbed run of two ranks leaves, and the seconds that its ranks took.

    Raises:
        RuntimeError: it did not end well.
    """
    launched = launch(runs, run)
    _until(lambda: len(launched.ranks()) == RANKS, launched)
    began = time.monotonic()
    ended = launched.end(600.0)
    if ended.code != 0 or ended.orphans:
        raise RuntimeError(ended.said)
    return outcome_of_ranks(run), time.monotonic() - began


def outcome_of_ranks(run: Path) -> dict[str, str]:
    """Checksums of all that the run holds, its position, and the examples of every step as each rank took them."""
    found = outcome(run, _note(run, "0"))
    return found | {"examples of rank 1": outcome(run, _note(run, "1"))["examples"]}


@dataclass(frozen=True)
class Killed:
    """What became of a run whose processes were killed."""

    ended: Ended
    named_by: str  # who said which rank is dead: "rank", "agent" or "" for nobody
    finished: bool  # all that was to do had been done
    seconds: float  # from the kill until the last process was gone


def kill_some(runs: Runs, run: Path, victims: tuple[str, ...], seconds: float) -> Killed | None:
    """Begin a run and kill some of its processes so many seconds after the ranks began; None: it had ended by then.

    Raises:
        RuntimeError: it had ended by then, and not well.
    """
    launched = launch(runs, run)
    _until(lambda: len(launched.ranks()) == RANKS, launched)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not launched.agent_ended():
        time.sleep(0.001)
    processes = launched.ranks() | {"agent": launched.agent}
    if not all(_held(run, name, processes[name]) for name in victims):
        for name in victims:
            _send(processes[name], signal.SIGCONT)
        if launched.end(SLACK).code != 0:
            raise RuntimeError(run.with_suffix(".said").read_text())
        return None
    for name in victims:
        _send(processes[name], signal.SIGKILL)
    killed = time.monotonic()
    ended = launched.end(TIMEOUT + ROLL_CALL.total_seconds() + SLACK)
    found = [json.loads(path.read_text())["finished"] for path in run.glob("checkpoints/step-*/progress.json")]
    return Killed(ended, _named_by(ended.said, victims), any(found), time.monotonic() - killed)


def _held(run: Path, name: str, process: int) -> bool:
    """Stop a process that is to be killed, and say whether it was still at work.

    A rank that is done waits for its agent. Killed in that moment it would leave the agent waiting for ever: that is between
    the agent and the function it called, the processes that ``torchrun`` starts have nothing of the kind.
    """
    _send(process, signal.SIGSTOP)
    while _state(process) not in "TZX":
        time.sleep(0.001)
    note = _end_note(run, name)
    return _runs(process) and not (note.exists() and note.read_text() == str(process))


def _send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process, number)


def _named_by(said: str, victims: tuple[str, ...]) -> str:
    """Who says which rank is dead, where one of them was left to say it."""
    [dead, *more] = [name for name in victims if name != "agent"]
    gone = rf"is gone or hangs\n  found: +no answer from rank {dead}\n"
    never_came = rf"did not find each other\n  expected: +2 processes; the other one is rank {dead}\n"
    if not more and re.search(f"{gone}|{never_came}", said):
        return "rank"
    return "agent" if re.search(rf"rank +: {dead} .*\n +exitcode +: -9", said) else ""


def _until(there: Callable[[], bool], launched: Launched) -> None:
    deadline = time.monotonic() + 300.0
    while not there():
        if time.monotonic() > deadline or launched.agent_ended():
            raise RuntimeError(f"the ranks did not begin: {launched.end(SLACK).said}")
        time.sleep(0.005)


def _lines(path: Path) -> list[str]:
    """The whole lines of a file that may not be there yet."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def _runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    return _state(process) not in "ZX"


def _state(process: int) -> str:
    """What /proc says of a process, in a letter: T is stopped, Z a zombie, X one that is not there."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
