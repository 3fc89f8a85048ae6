"""Progress: a bar on a terminal, lines elsewhere, nothing when quiet; never on stdout."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator

import pytest

from pellucid.base import progress
from pellucid.base.progress import Progress, say, set_quiet


class Clock:
    """Time that goes on only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def put_up_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let stderr be a terminal. To be called in the test itself: pytest puts its own stderr up again after the fixtures."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


@pytest.fixture(autouse=True)
def loud_afterwards() -> Iterator[None]:
    yield
    set_quiet(False)


def test_lines_come_at_intervals(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(60, "steps", "training") as shown:
        for _ in range(25):
            clock.now += 1.0
            shown.update(loss=2.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\n") == [
        "training: 10 of 60 steps, 1 a second, 0:50 left, loss 2.5",
        "training: 20 of 60 steps, 1 a second, 0:40 left, loss 2.5",
        "training: 25 of 60 steps, 1 a second, 0:35 left, loss 2.5",
        "",
    ]


def test_short_work_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "files", "reading") as shown:
        clock.now += 1.9
        shown.update(3)
    assert capsys.readouterr() == ("", "")


def test_finished_work_has_no_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "files", "reading") as shown:
        clock.now += 6.0
        shown.update(3)
    assert capsys.readouterr().err == "reading: 3 of 3 files, 0.5 a second\n"


def test_unknown_totals(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, "lines", "translating") as shown:
        clock.now += 10.0
        shown.update(123)
        clock.now += 1.0
    assert capsys.readouterr().err.startswith("translating: 123 lines, 12.3 a second\n")


def test_units_done_before_do_not_count_for_the_rate(clock: Clock) -> None:
    with Progress(1000, "steps", "training", start=900) as shown:
        clock.now += 10.0
        shown.update(20)
        # 20 in 10 seconds: 80 more take 40
        assert shown.line() == "training: 920 of 1000 steps, 2 a second, 0:40 left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (59.6, "1:00"), (108, "1:48"), (7385, "2:03:05"), (360_000, "100:00:00")]
)
def test_durations(seconds: float, words: str) -> None:
    assert progress._duration(seconds) == words


def test_an_error_ends_without_a_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(3, "files", "reading")
    clock.now += 6.0
    with pytest.raises(KeyError), shown:
        raise KeyError
    assert capsys.readouterr().err == ""


def test_quiet_is_silent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_up_a_terminal(monkeypatch)
    set_quiet(True)
    with Progress(60, "steps", "training") as shown:
        clock.now += 50.0
        shown.update(30)
        say("a sample")
    assert terminal.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_up_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "BAR_DELAY", 0.0)
    with Progress(40, "steps", "training", start=10) as shown:
        shown.update(10, loss=2.34567, rate=0.001)
        assert shown._bar is not None
        shown._bar.refresh()
    written = terminal.getvalue()
    assert "training:  50%" in written
    assert "20/40" in written
    assert "steps/s, loss=2.346, rate=0.001]" in written


def test_a_bar_waits_until_work_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_up_a_terminal(monkeypatch)
    with Progress(3, "files", "reading") as shown:
        shown.update(3)
    assert terminal.getvalue() == ""


def test_a_line_does_not_tear_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_up_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "BAR_DELAY", 0.0)
    with Progress(40, "steps", "training") as shown:
        shown.update(20)
        say("a sample translation")
    # The bar is wiped, the line stands alone, the bar is drawn again below it.
    before, after = terminal.getvalue().split("a sample translation\n")
    assert before.endswith("\r")
    assert "20/40" in after


def test_a_line_after_a_bar_is_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tqdm's lock, in which an interruption would turn into another error."""
    put_up_a_terminal(monkeypatch)
    with Progress(2, "steps", "training") as shown:
        shown.update(2)
    monkeypatch.setattr("tqdm.tqdm.write", None)
    terminal = put_up_a_terminal(monkeypatch)
    say("a word")
    assert terminal.getvalue() == "a word\n"


def test_a_line_without_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    say("one line")
    assert capsys.readouterr() == ("", "one line\n")


def test_a_closed_stderr_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    progress.say("nobody hears this")
    assert isinstance(sys.stderr, Closed)
