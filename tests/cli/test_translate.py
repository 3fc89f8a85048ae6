"""``pellucid translate``: N lines in, N lines out, in their order, whatever the lines hold."""

from __future__ import annotations

import gzip
import io
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.progress import Progress
from pellucid.decoding import search as searching
from pellucid.tasks import writing
from pellucid.tasks.translator import Translator

Run = Callable[..., int]
Feed = Callable[[bytes], None]
PairsOf = Callable[[str], list[tuple[str, str]]]
Capture = pytest.CaptureFixture[str]


def sentences(count: int, seed: int = 3) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices("abcdefgh", k=chooser.randint(1, 8))) for _ in range(count)]


class TestTranslate:
    def test_n_lines_in_n_lines_out(
        self, pellucid: Run, feed: Feed, learnt: Path, translator: Translator, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Empty lines and white space, \\r\\n, no line feed at the end: each line has its own, and the model sees three."""
        asked: list[int] = []
        search = Translator._search

        def counting(self: Translator, items: Any, *rest: Any) -> Any:
            asked.extend(len(ids) for ids, _ in items)
            return search(self, items, *rest)

        one, two, three = translator.translate(["a b", "c d e", "f"])
        monkeypatch.setattr(Translator, "_search", counting)
        feed(b"\na b\n\n \t \xc2\xa0\nc d e\r\n\r\nf")
        assert pellucid("translate", learnt) == 0
        out, err = capsys.readouterr()
        assert out.split("\n") == ["", one, "", "", two, "", three, ""]
        assert err == ""
        assert sorted(asked) == [2, 3, 4]  # tokens with their end token

    def test_nothing_in_nothing_out(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"")
        assert pellucid("translate", learnt) == 0
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85", "\r", "\x00"])
    def test_only_a_line_feed_ends_a_line(
        self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture, separator: str
    ) -> None:
        feed(f"a{separator}b\nc\n".encode())
        assert pellucid("translate", learnt) == 0
        assert capsys.readouterr().out.count("\n") == 2

    def test_the_order_is_kept(self, pellucid: Run, feed: Feed, learnt: Path, translator: Translator, capsys: Capture) -> None:
        lines = sentences(30)
        assert lines != sorted(lines, key=len)
        feed("".join(f"{line}\n" for line in lines).encode())
        assert pellucid("translate", learnt, "--batch", 4) == 0
        alone = [translator.translate(line)[0] for line in lines]
        assert capsys.readouterr().out.split("\n")[:-1] == alone

    def test_what_was_learnt_by_heart(
        self, pellucid: Run, feed: Feed, learnt: Path, pairs_of: PairsOf, capsys: Capture
    ) -> None:
        pairs = pairs_of("train")[:20]
        feed("".join(f"{source}\n" for source, _ in pairs).encode())
        assert pellucid("translate", learnt, "--beams", 1) == 0
        right = sum(line == target for line, (_, target) in zip(capsys.readouterr().out.split("\n")[:-1], pairs, strict=True))
        assert right >= 19

    @pytest.mark.parametrize("name", ["in.txt", "in.txt.gz"])
    def test_a_file(
        self, pellucid: Run, learnt: Path, translator: Translator, capsys: Capture, tmp_path: Path, name: str
    ) -> None:
        text = b"a b\nc\n"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        assert pellucid("translate", learnt, tmp_path / name) == 0
        assert capsys.readouterr().out.split("\n")[:-1] == translator.translate(["a b", "c"])

    def test_a_dash_is_standard_input(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"a\n")
        assert pellucid("translate", learnt, "-") == 0
        assert capsys.readouterr().out.count("\n") == 1

    def test_a_model_directory_serves_like_its_run(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        found = []
        for directory in (learnt, learnt / "model"):
            feed(b"a b c d\n")
            assert pellucid("translate", directory) == 0
            found.append(capsys.readouterr().out)
        assert found[0] == found[1] != "\n"

    def test_n_best(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"a b\n\nc d e f\n")
        assert pellucid("translate", learnt, "--beams", 4, "--nbest", 3) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.split("\n")[:-1]]
        assert [row[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"]
        for number in ("1", "3"):
            mine = [(float(score), text) for line, score, text in rows if line == number]
            assert [score for score, _ in mine] == sorted((score for score, _ in mine), reverse=True)
            assert len({text for _, text in mine}) == 3
        assert rows[3] == ["2", "0.0000", ""]

    def test_settings_of_the_search_reach_it(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        """Without a penalty a score is a sum of log probabilities; with ``power`` and alpha 1 their mean (3 tokens here)."""
        scores = []
        for options in (["--length-penalty", "none"], ["--length-penalty", "power", "--alpha", "1"]):
            feed(b"a b\n")
            assert pellucid("translate", learnt, "--nbest", 2, *options) == 0
            line = next(line for line in capsys.readouterr().out.split("\n") if line.endswith("\tB A"))
            scores.append(float(line.split("\t")[1]))
        assert scores[0] == pytest.approx(3 * scores[1], abs=2e-4)

    def test_a_long_line_is_cut_with_its_number(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"a\n" + b"b " * 40 + b"\n")  # the model has 32 positions, one of them for the end token
        assert pellucid("translate", learnt) == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 2
        assert "line 2 has 41 tokens, only the first 31 are used" in err  # 40 words and the space at the end

    def test_translations_that_do_not_end_are_counted(
        self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def endless(*arguments: Any, **named: Any) -> Any:
            named["forbidden"] = (*named["forbidden"], named["end"])
            return searching.search(*arguments, **named)

        monkeypatch.setattr(writing, "search", endless)
        feed(b"\na\nb c\n")
        assert pellucid("translate", learnt) == 0
        out, err = capsys.readouterr()
        assert [len(line.split()) for line in out.split("\n")] == [0, 7, 8, 0]  # source with its end token, and 5 more
        assert "2 translations were cut at their limit (first: line 2)" in err

    def test_quiet_is_silent(self, pellucid: Run, feed: Feed, learnt: Path, capsys: Capture) -> None:
        feed(b"b " * 40)
        assert pellucid("translate", learnt, "--quiet") == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 1
        assert err == ""

    def test_somebody_who_types_is_answered_line_by_line(
        self, pellucid: Run, learnt: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[bytes] = []
        screen = io.BytesIO()

        class Keyboard(io.BytesIO):
            def __next__(self) -> bytes:
                seen.append(screen.getvalue())  # what stands there when the next line is asked for
                return super().__next__()

        class Terminal(io.TextIOWrapper):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stdin", Terminal(Keyboard(b"a b\nc d\n")))
        monkeypatch.setattr(sys, "stdout", Terminal(screen))
        assert pellucid("translate", learnt) == 0
        first, second = (f"{text}\n".encode() for text in translator.translate(["a b", "c d"]))
        assert seen == [b"", first, first + second]

    def test_no_bar_runs_into_translations_on_a_terminal(
        self, pellucid: Run, feed: Feed, learnt: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr("pellucid.base.progress.BAR_DELAY", 0.0)
        feed(b"a b\n")
        assert pellucid("translate", learnt) == 0
        assert out.getvalue().count("\n") == 1
        assert err.getvalue() == ""

    @pytest.mark.parametrize("name", ["-", "in.txt"])
    def test_the_bar_counts_every_line(
        self, pellucid: Run, feed: Feed, learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        told: list[tuple[int | None, int]] = []
        monkeypatch.setattr(Progress, "update", lambda self, n: told.append((self.total, n)))
        (tmp_path / "in.txt").write_bytes(b"a b\n\nc\n")
        feed(b"a b\n\nc\n")
        assert pellucid("translate", learnt, "-" if name == "-" else tmp_path / name) == 0
        assert told == [(None if name == "-" else 3, 1), (None if name == "-" else 3, 2)]

    def test_a_mistake_further_on_when_nobody_reads_any_more(
        self, pellucid: Run, feed: Feed, learnt: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The mistake is reported, and what was written before it does not raise when stdout is closed at the end."""
        read, write = os.pipe()
        os.close(read)
        monkeypatch.setattr("pellucid.decoding.batching.WINDOW", 1)
        feed(b"a\n\xe9\n")
        with open(write, "w", encoding="utf-8") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert pellucid("translate", learnt) == 3
