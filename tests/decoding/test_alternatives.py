"""Alternatives at a position: against log probabilities worked out beside them, and against searches with a prefix."""

from __future__ import annotations

from typing import Any

import pytest
from toys import END, START, Ids, Toy, log_softmax, padded, random_table, whole

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.alternatives import alternatives
from pellucid.decoding.rules import BannedWords
from pellucid.decoding.search import search

TABLE = random_table(50, vocabulary=8, towards_end=1.0)
ASKED: dict[str, Any] = {"start": START, "end": END, "forbidden": (START,)}


@pytest.mark.parametrize("prefix", [(), (5,), (4, 4, 6)])
@pytest.mark.parametrize("config", [DecodingConfig(beams=1), DecodingConfig(beams=3), DecodingConfig(beams=1, temperature=1.4)])
def test_the_most_probable_tokens_each_completed_by_the_search(prefix: Ids, config: DecodingConfig) -> None:
    source, mask = padded([(7, 5)])
    found = alternatives(Toy(TABLE), source, mask, config, n=5, prefix=prefix, limit=9, seed=4, **ASKED)
    values = log_softmax(TABLE((7, 5), prefix))
    ranked = sorted(range(1, 8), key=lambda token: -values[token])[:5]
    assert [one.token for one in found] == ranked
    assert [one.log_probability for one in found] == pytest.approx([values[token] for token in ranked], abs=1e-5)
    for one in found:
        assert whole(one.output)[: len(prefix) + 1] == (*prefix, one.token)
        options = {"prefixes": [[*prefix, one.token]], "limits": mask.sum(dim=1) + 7, "seeds": [4]}
        ((expected, *_),) = search(Toy(TABLE), source, mask, config, **ASKED, **options)
        assert one.output == expected
    assert END in {one.token for one in found}


def test_there_are_as_many_as_may_come() -> None:
    source, mask = padded([(7, 5)])
    options = {"rules": [BannedWords([[6, token] for token in (1, 4, 5, END)])], "limit": 9}
    found = alternatives(Toy(TABLE), source, mask, DecodingConfig(beams=1), n=20, prefix=[6], **options, **ASKED)
    assert {one.token for one in found} == {2, 6, 7}


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_required_comes_in_each(beams: int) -> None:
    """After "5 6" one more token is needed, and two remain: any may come but the end."""
    source, mask = padded([(7, 5)])
    options = {"required": [[[6, 7]]], "limit": 5, "n": 20}
    found = alternatives(Toy(TABLE), source, mask, DecodingConfig(beams=beams), prefix=[5, 1], **options, **ASKED)
    assert {one.token for one in found} == {1, 2, 4, 5, 6, 7}
    for one in found:
        pairs = list(zip(one.output.ids, one.output.ids[1:], strict=False))
        assert (6, 7) in pairs
        assert one.output.ids[:3] == (5, 1, one.token)


def test_the_default_limit_is_that_of_the_search() -> None:
    source, mask = padded([(7, 5)])
    config = DecodingConfig(beams=1, max_extra=4)
    one, *_ = alternatives(Toy(random_table(51, towards_end=-99.0)), source, mask, config, n=1, prefix=[2], **ASKED)
    assert (len(one.output.ids), one.output.reason) == (6, "length")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0, "prefix": []}, "at least one alternative"),
        ({"n": 2, "prefix": [4, 4, 4]}, "no token can come after the prefix"),
        ({"n": 2, "prefix": [END]}, "no token can come after the prefix"),
        ({"n": 2, "prefix": [START]}, "banned as well"),
        ({"n": 2, "prefix": [4], "required": [[[5, 6, 7]]]}, "no room"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    source, mask = padded([(7, 5)])
    with pytest.raises(UsageError, match=message):
        alternatives(Toy(TABLE), source, mask, DecodingConfig(beams=1), limit=3, **options, **ASKED)
