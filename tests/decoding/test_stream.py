"""Outputs token by token: the ids of a search, and text of which nothing is lost and nothing shown too early."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import END, LIMITS, SOURCES, START, Ids, Toy, log_softmax, padded, random_table, whole

from pellucid.base.config import DecodingConfig, TextConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.search import Strategy, search, searching
from pellucid.decoding.stream import Token, stream, text_pieces
from pellucid.text.tokenizer import Tokenizer

GREEDY = DecodingConfig(beams=1, length_penalty="power", alpha=1.0)
DRAWN = DecodingConfig(beams=1, temperature=1.2, top_k=6)


def asked(model: Toy, source: Ids, config: DecodingConfig, limit: int, **options: object) -> Iterator[Strategy]:
    options = {"start": START, "end": END, "limits": torch.tensor([limit]), **options}
    return searching(model, *padded([source]), config, **options)  # type: ignore[arg-type]


def collected(tokens: Generator[Token, None, Hypothesis]) -> tuple[list[Token], Hypothesis]:
    found = []
    while True:
        try:
            found.append(next(tokens))
        except StopIteration as stop:
            return found, stop.value


@pytest.mark.parametrize("config", [GREEDY, DRAWN])
@pytest.mark.parametrize("end", [END, None])
def test_the_tokens_are_those_of_a_search_with_the_models_log_probabilities(config: DecodingConfig, end: int | None) -> None:
    model = Toy(random_table(70, vocabulary=8, towards_end=0.5))
    seeds = [5, 70_000, 0, 9, -4, 8, 2]
    reasons = set()
    for source, limit, seed in zip(SOURCES, LIMITS, seeds, strict=True):
        options = {"start": START, "end": end, "limits": torch.tensor([limit]), "seeds": [seed]}
        ((expected,),) = search(model, *padded([source]), config, **options)  # type: ignore[arg-type]
        tokens, found = collected(stream(asked(model, source, config, limit, end=end, seeds=[seed])))
        assert found == expected
        assert tuple(token.id for token in tokens) == expected.ids
        values = [log_softmax(model.table(source, expected.ids[:at]))[token] for at, token in enumerate(expected.ids)]
        assert [token.log_probability for token in tokens] == pytest.approx(values, abs=1e-6)
        reasons.add(found.reason)
    assert reasons == ({"length"} if end is None else {"end", "length"})


def test_a_token_is_given_as_soon_as_it_is_chosen() -> None:
    model = Toy(random_table(71, vocabulary=8, towards_end=-9.0))
    tokens = stream(asked(model, (5, 6), GREEDY, 4))
    assert model.rows == []
    for steps in range(1, 5):
        next(tokens)
        assert len(model.rows) == steps
        assert not torch.is_inference_mode_enabled()
    assert list(tokens) == []


def test_an_output_that_ends_at_once_has_no_tokens() -> None:
    tokens, found = collected(stream(asked(Toy(lambda source, ids: [0.0, 0.0, 0.0, 9.0]), (5,), GREEDY, 4)))
    assert (tokens, found.ids, found.reason) == ([], (), "end")


def test_a_prefix_is_streamed_as_well() -> None:
    model = Toy(random_table(72, vocabulary=8, towards_end=-2.0))
    tokens, found = collected(stream(asked(model, (5,), GREEDY, 6, prefixes=[[7, 1, 7]])))
    assert tuple(token.id for token in tokens) == found.ids
    assert whole(found)[:3] == (7, 1, 7)


def test_several_beams_or_sentences_are_refused() -> None:
    model = Toy(random_table(73))
    with pytest.raises(UsageError, match="only one output can be streamed"):
        next(stream(asked(model, (5,), DecodingConfig(beams=2), 4)))
    two = searching(model, *padded([(5,), (6,)]), GREEDY, start=START, end=END)
    with pytest.raises(UsageError, match="only one output can be streamed"):
        next(stream(two))


# Text


def as_utf8(ids: Sequence[int]) -> str:
    """Each id a byte; from 256 on control tokens, which are no text."""
    return bytes(one for one in ids if one < 256).decode("utf-8", errors="replace")


def test_bytes_of_an_unfinished_character_are_held_back() -> None:
    text = "a€é🙂b"
    pieces = []
    given_at = []
    ids = [300, *text.encode(), 301]

    def watched() -> Iterator[int]:
        for at, one in enumerate(ids):
            given_at.append(at)
            yield one

    for piece in text_pieces(watched(), as_utf8):
        pieces.append((piece, given_at[-1]))
    assert pieces == [("a", 1), ("€", 4), ("é", 6), ("🙂", 10), ("b", 11)]


def test_what_stays_unfinished_comes_at_last() -> None:
    assert list(text_pieces("a€".encode()[:-1], as_utf8)) == ["a", "\ufffd"]
    assert list(text_pieces([], as_utf8)) == []
    assert list(text_pieces([300, 301], as_utf8)) == []
    assert list(text_pieces([0xFF, 0xFE, ord("a")], as_utf8)) == ["\ufffd\ufffda"]


@given(st.lists(st.one_of(st.integers(0, 257), st.sampled_from(list("é€🙂".encode()))), max_size=30), st.text(max_size=4))
@settings(max_examples=200, deadline=None)
def test_the_pieces_of_any_bytes_join_to_their_text(ids: list[int], before: str) -> None:
    prompt = list(before.encode("utf-8", errors="replace"))
    joined = "".join(text_pieces(ids, as_utf8, before=prompt))
    assert as_utf8(prompt) + joined == as_utf8([*prompt, *ids])


TEXT = "L'été, un €uro naïf:  trois 日本 voix 🙂 !"


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte", "character", "word"])
@pytest.mark.parametrize("prefix_space", [True, False])
def test_the_pieces_of_every_kind_of_tokenizer_join_to_its_text(kind: str, prefix_space: bool) -> None:
    """Of ids drawn at random, which hold spaces and broken characters anywhere, behind prompts of any length."""
    config = TextConfig(tokenizer=kind, vocabulary=320, min_frequency=1, prefix_space=prefix_space)  # type: ignore[arg-type]
    tokenizer = Tokenizer.train([TEXT, "un deux  trois"] * 3, config)
    numbers = random.Random(kind)
    spaces = [token for token in range(tokenizer.vocabulary_size) if tokenizer.tokens([token])[0].startswith("▁")]
    for _ in range(200):
        choices = [*range(tokenizer.vocabulary_size), *spaces * 8]
        ids = numbers.choices(choices, k=numbers.randrange(12))
        prompt = tokenizer.encode(TEXT)[: numbers.randrange(4)]
        while tokenizer.decode(prompt).endswith("\ufffd"):  # half a character is no prompt
            prompt.pop()
        pieces = list(text_pieces(ids, tokenizer.decode, before=prompt))
        assert tokenizer.decode(prompt) + "".join(pieces) == tokenizer.decode([*prompt, *ids]), (ids, prompt)
        assert all(pieces)
    ids = tokenizer.encode(TEXT)
    pieces = list(text_pieces(ids, tokenizer.decode))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_long_text_is_not_decoded_again_for_every_token() -> None:
    lengths = []

    def decode(ids: Sequence[int]) -> str:
        lengths.append(len(ids))
        return as_utf8(ids)

    ids = list(("été €🙂 " * 40).encode())
    assert "".join(text_pieces(ids, decode)) == "été €🙂 " * 40
    assert max(lengths) <= 8
