"""Where the time of a step goes: a trace of a few steps, and its dearest operators as a table."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.profiler import ProfilerActivity, profile, schedule

from pellucid.base.files import publish_directory
from pellucid.base.progress import say

PROFILE = "profile"  # in the directory of the run
TRACE, TABLE = "trace.json", "operators.txt"
WAIT, WARM_UP, RECORDED = 5, 2, 3  # steps: the first ones take memory and make code, and so does the profiler itself
ROWS = 25  # of the table


class StepProfiler:
    """Records ``RECORDED`` steps of this process, after the warm-up. What is computed stays the same.

    Args:
        directory: of the run; ``profile/`` in it gets the trace, for ``chrome://tracing`` or ui.perfetto.dev, and the table.
        device: that the run computes on.
        processes: of the run, for the message: only this one is recorded.
    """

    def __init__(self, directory: Path, device: str, processes: int = 1) -> None:
        self.target, self.processes = directory / PROFILE, processes
        on_gpu = device.startswith("cuda")
        self.sorted_by = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        self._watching = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
            schedule=schedule(wait=WAIT, warmup=WARM_UP, active=RECORDED, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
        )
        self._written = False

    def __enter__(self) -> Self:
        self._watching.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watching.stop()
        if kind is None and not self._written:
            steps = WAIT + WARM_UP + RECORDED
            say(f"warning: nothing was profiled: the run ended before step {steps} of this call; raise training.steps")

    def step(self) -> None:
        """A step is done."""
        self._watching.step()

    def _write(self, watched: Any) -> None:
        def build(aside: Path) -> None:
            watched.export_chrome_trace(str(aside / TRACE))
            table = watched.key_averages().table(sort_by=self.sorted_by, row_limit=ROWS, max_name_column_width=60)
            (aside / TABLE).write_text(f"{table}\n", encoding="utf-8")

        publish_directory(build, self.target)
        self._written = True
        which = f" of the first of {self.processes} processes" if self.processes > 1 else ""
        say(f"profiled {RECORDED} steps{which}: {self.target / TRACE} (open it in ui.perfetto.dev), {self.target / TABLE}")


class NoProfiler:
    """Takes its place where none is wanted."""

    def step(self) -> None:
        """Nothing."""


def profiler(wanted: bool, directory: Path, device: str, processes: int) -> AbstractContextManager[StepProfiler | NoProfiler]:
    """To be entered around the steps of a run."""
    return StepProfiler(directory, device, processes) if wanted else nullcontext(NoProfiler())
