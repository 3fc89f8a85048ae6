"""What is hidden of a text: T5's spans and BART's, counted and put back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.tasks import corruption
from pellucid.tasks.corruption import Span, cut_spans, infilling, poisson_spans, spans
from pellucid.tasks.prepared import seeded

SENTENCE = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]  # Figure 2 of the T5 paper
SENTINELS = tuple(range(500, 550))
MASK = 999

lengths, mean_spans, seeds = st.integers(2, 200), st.floats(1.0, 8.0), st.integers(0, 99)


def check_apart(found: list[Span], length: int) -> None:
    """Spans lie inside the text, in order, with a token between any two."""
    edges = [0, *(place for span in found for place in span), length]
    assert edges == sorted(edges)
    assert all(first > end for (_, end), (first, _) in pairwise(found))


class TestSpans:
    def test_the_example_of_the_paper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corruption, "cut_spans", lambda *_: [(2, 4), (8, 9)])
        ids = [SENTENCE.index(word) for word in SENTENCE]
        source, target = spans(ids, (100, 101, 102, 103), 0.3, 3.0)
        assert source == [0, 1, 100, 4, 5, 6, 7, 101, 9, 10]  # Thank you <X> me to your party <Y> week .
        assert target == [100, 2, 3, 101, 8, 102]  # <X> for inviting <Y> last <Z>

    @given(lengths, st.floats(0.05, 0.6), mean_spans, seeds)
    def test_what_is_hidden_can_be_put_back(self, length: int, share: float, mean_span: float, seed: int) -> None:
        ids = list(range(length))
        source, target = spans(ids, SENTINELS, share, mean_span, seeded(seed))
        used = [token for token in source if token >= 500]
        parts: dict[int, list[int]] = {}
        for token in target:
            if token >= 500:
                parts[token] = []
            else:
                parts[max(parts)].append(token)
        assert list(parts) == list(SENTINELS[: len(used) + 1])  # in their order, and one more at the end
        assert used == list(parts)[:-1]
        assert parts.pop(max(parts)) == []
        assert all(parts.values())
        assert [token for one in source for token in parts.get(one, [one])] == ids
        assert sum(map(len, parts.values())) == min(max(round(length * share), 1), length - 1)

    @given(lengths, st.floats(0.05, 0.9), mean_spans, seeds)
    def test_spans_never_touch(self, length: int, share: float, mean_span: float, seed: int) -> None:
        check_apart(cut_spans(length, share, mean_span, 49, seeded(seed)), length)

    def test_the_number_of_spans_follows_from_their_mean(self) -> None:
        assert [len(cut_spans(200, 0.15, mean, 99)) for mean in (1.0, 3.0, 4.0, 30.0)] == [30, 10, 8, 1]
        assert len(cut_spans(200, 0.15, 3.0, 4)) == 4  # as many as there are sentinels for
        assert len(cut_spans(10, 0.9, 1.0, 9)) == 2  # as many as the one token that is left can keep apart

    def test_all_ways_are_equally_probable(self) -> None:
        """3 hidden of 7 tokens in 2 spans: 2 ways to cut the hidden, 10 ways to choose 2 of the 5 places around the others."""
        noise = torch.Generator().manual_seed(1)
        found = Counter(tuple(cut_spans(7, 0.4, 1.5, 9, noise)) for _ in range(4000))
        assert len(found) == 20
        assert all(140 < count < 260 for count in found.values())  # 200 on average, 4 standard deviations of 14

    def test_a_single_span_stands_anywhere(self) -> None:
        noise = torch.Generator().manual_seed(1)
        assert {cut_spans(6, 0.3, 3.0, 9, noise)[0] for _ in range(100)} == {(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)}

    @pytest.mark.parametrize(("ids", "source", "target"), [([], [], [50]), ([7], [7], [50])])
    def test_nothing_is_hidden_of_a_text_of_one_token(self, ids: list[int], source: list[int], target: list[int]) -> None:
        assert spans(ids, (50, 51), 0.15, 3.0) == (source, target)

    def test_the_generator_decides(self) -> None:
        one, same, other = (spans(range(60), SENTINELS, 0.15, 3.0, seeded(seed)) for seed in (1, 1, 2))
        assert one == same != other


class TestInfilling:
    def test_each_span_is_one_mask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corruption, "poisson_spans", lambda *_: [(1, 3), (4, 4), (6, 9)])
        source, target = infilling(list(range(10)), MASK, 0.5, 3.0)
        assert source == [0, MASK, 3, MASK, 4, 5, MASK, 9]
        assert target == list(range(10))

    @given(lengths, st.floats(0.05, 0.95), mean_spans, seeds)
    def test_masks_stand_where_something_is_missing(self, length: int, share: float, mean_span: float, seed: int) -> None:
        ids = list(range(length))
        source, target = infilling(ids, MASK, share, mean_span, seeded(seed))
        assert target == ids
        assert all(one != MASK or other != MASK for one, other in pairwise(source))
        filled, n_hidden = [], 0
        for token, after in zip(source, [*source[1:], length], strict=True):
            missing = range(len(filled), after) if token == MASK else ()
            filled += [*missing] if token == MASK else [token]
            n_hidden += len(missing)
        assert filled == ids
        assert n_hidden == min(max(round(length * share), 1), length)

    @given(st.integers(1, 200), st.floats(0.05, 0.95), mean_spans, seeds)
    def test_spans_hide_the_share_and_never_touch(self, length: int, share: float, mean_span: float, seed: int) -> None:
        found = poisson_spans(length, share, mean_span, seeded(seed))
        check_apart(found, length)
        assert sum(end - first for first, end in found) == min(max(round(length * share), 1), length)

    def test_lengths_are_those_of_a_poisson_distribution(self) -> None:
        found = [end - first for first, end in poisson_spans(60_000, 0.3, 3.0, seeded(1))]
        counts = Counter(found)
        expected = [0.0498, 0.1494, 0.2240, 0.2240, 0.1680, 0.1008]  # e^-3 3^k / k!
        assert [counts[k] / len(found) for k in range(6)] == pytest.approx(expected, abs=0.02)
        assert np.mean(found) == pytest.approx(3.0, abs=0.1)

    def test_an_empty_text_stays_empty(self) -> None:
        assert infilling([], MASK, 0.3, 3.0) == ([], [])

    def test_the_generator_decides(self) -> None:
        one, same, other = (infilling(range(60), MASK, 0.3, 3.0, seeded(seed)) for seed in (1, 1, 2))
        assert one == same != other
