"""Verdicts on made-up figures, and the intervals that they rest on."""

from __future__ import annotations

import math
import statistics

import pytest

from pellucid.compare.rule import Line, Rule
from pellucid.compare.spread import shown, spread

RULE = Rule((Line("gain", "at least", 0.5), Line("loss", "at most", 2.0), Line("learnt", "at least", 0.9, needed=True)))
GOOD = {"gain": [0.8, 0.9, 1.0], "loss": [1.0, 1.1, 0.9], "learnt": [1.0]}


class TestSpread:
    def test_of_three_numbers(self) -> None:
        found = spread([1.0, 2.0, 6.0])
        # t of 2 degrees of freedom is 4.303; by the standard library: deviation over the root of the count.
        half = 4.303 * statistics.stdev([1.0, 2.0, 6.0]) / math.sqrt(3)
        assert (found.mean, found.count) == (3.0, 3)
        assert found.half == pytest.approx(half)
        assert (found.low, found.high) == pytest.approx((3.0 - half, 3.0 + half))

    def test_one_number_is_its_own_interval(self) -> None:
        assert (spread([4.0]).low, spread([4.0]).high, str(spread([4.0]))) == (4.0, 4.0, "4.00")

    def test_no_number_has_no_mean(self) -> None:
        with pytest.raises(ValueError, match="no number"):
            spread([])

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0.0, "0.000"),
            (0.98349, "0.983"),
            (12.46, "12.5"),
            (41234.0, "41,200"),
            (-3.14159, "-3.14"),
            (2.1e-7, "2.1e-07"),
            (999.6, "1,000"),
            (2e12, "2.00e+12"),
            (math.inf, "inf"),
        ],
    )
    def test_numbers_are_shown_with_three_digits(self, number: float, text: str) -> None:
        assert shown(number) == text


class TestVerdict:
    def test_confirmed_when_every_line_holds(self) -> None:
        verdict, judged = RULE.judge(GOOD)
        assert verdict == "confirmed"
        assert [each.holds for each in judged] == [True, True, True]

    def test_not_confirmed_when_an_interval_lies_wholly_beyond(self) -> None:
        verdict, judged = RULE.judge({**GOOD, "loss": [3.0, 3.1, 2.9]})
        assert verdict == "not confirmed here"
        assert [each.holds for each in judged] == [True, False, True]

    def test_one_that_fails_counts_more_than_one_that_is_open(self) -> None:
        assert RULE.judge({**GOOD, "gain": [0.4, 0.6, 0.5], "loss": [3.0]})[0] == "not confirmed here"

    def test_undecided_when_an_interval_holds_the_threshold(self) -> None:
        verdict, judged = RULE.judge({**GOOD, "gain": [0.4, 0.9, 0.8]})
        assert verdict == "undecided"
        assert [each.holds for each in judged] == [None, True, True]

    @pytest.mark.parametrize("learnt", [[0.2], [0.7, 1.0, 1.0]])
    def test_undecided_when_the_run_could_show_nothing(self, learnt: list[float]) -> None:
        assert RULE.judge({**GOOD, "loss": [3.0], "learnt": learnt})[0] == "undecided"

    def test_the_threshold_itself_holds(self) -> None:
        assert Line("x", "at least", 1.0).holds([1.0]) is True
        assert Line("x", "at most", 1.0).holds([1.0]) is True

    def test_a_line_about_what_was_not_measured_is_a_mistake_of_ours(self) -> None:
        with pytest.raises(KeyError, match="gain"):
            RULE.judge({})
