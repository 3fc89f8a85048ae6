"""Requests: what contradicts itself is refused before any model is near, and what is asked for takes the recipe's place."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.tasks.glossary import Finder, Term, read_glossary, terms_of
from pellucid.tasks.request import Asked, Request, each_asked, request_of


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"beams": 0}, "beams: must be between 1 and 1000, is 0"),
            ({"beams": 10_000}, "beams: must be between 1 and 1000, is 10000"),
            ({"alpha": -0.1}, "alpha: must be between 0 and 10"),
            ({"length_penalty": "marian"}, "no such length penalty"),
            ({"temperature": -1.0}, "temperature: must be at least 0"),
            ({"top_p": 0.0}, "top_p: must be above 0 and at most 1, is 0.0"),
            ({"top_k": -1}, "top_k: must be at least 0"),
            ({"min_p": 1.5}, "min_p: must be between 0 and 1"),
            ({"repetition_penalty": 0.0}, "repetition_penalty: must be above 0"),
            ({"no_repeat_ngram": -2}, "no_repeat_ngram: must be at least 0"),
            ({"min_length": -1}, "min_length: must be at least 0"),
            ({"tokens": 0}, "nothing to write"),
            ({"tokens": 3, "min_length": 4}, "cannot be longer than its limit"),
            ({"n_best": 0}, "at least one output"),
            ({"n_best": 4, "beams": 3}, "expected: 1 to 3"),
            ({"n_best": 2, "temperature": 0.5}, "one output a text"),
            ({"n_best": 2, "samples": 5}, "one output a text"),
            ({"n_best": 2, "draft": "small"}, "one output a text"),
            ({"beams": 2, "temperature": 0.5}, "several beams search"),
            ({"beams": 2, "top_k": 3}, "1 with top_k"),
            ({"beams": 2, "top_p": 0.9}, "1 with top_p"),
            ({"beams": 2, "min_p": 0.1}, "1 with min_p"),
            ({"beams": 2, "samples": 4}, "1 with samples"),
            ({"beams": 2, "draft": "small"}, "a draft proposes for one beam"),
            ({"temperature": 0.0, "top_k": 3}, "temperature 0 draws nothing"),
            ({"temperature": 0.0, "samples": 3}, "temperature 0 draws nothing"),
            ({"samples": 1}, "agrees with no other"),
            ({"samples": 4, "utility": "comet"}, "no such utility"),
            ({"draft": "small", "ahead": 0}, "must propose something"),
            ({"draft": "small", "glossary": ["a"]}, "a draft cannot propose"),
            ({"glossary": {"a": " "}}, "a term of the glossary is empty"),
            ({"glossary": {"": "b"}}, "a term of the glossary is empty"),
            ({"glossary": [[]]}, "a term of the glossary is empty"),
            ({"ban": ["a", " "]}, "a banned word is empty"),
            ({"ban": "word"}, "banned words are several"),
        ],
    )
    def test_what_makes_no_sense(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Request(**options)

    @pytest.mark.parametrize(
        "options",
        [
            *({"beams": 2}, {"beams": 3, "n_best": 2}, {"samples": 3}, {"draft": "small"}, {"scores": True}),
            *({"align": (0, 0)}, {"n_best": 2}),
        ],
    )
    def test_streams_of_what_is_known_at_the_end(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="before the output is complete"):
            Request(**options).streamed()

    def test_a_stream_takes_one_beam(self) -> None:
        assert Request(top_k=3).streamed() == Request(top_k=3, beams=1)

    def test_options_that_do_not_exist(self) -> None:
        with pytest.raises(UsageError, match="no such option") as refused:
            request_of(None, {"beam": 3})
        assert refused.value.advice == "did you mean beams?"

    def test_more_outputs_than_the_recipe_has_beams(self) -> None:
        with pytest.raises(UsageError, match="expected: 1 to 2"):
            Request(n_best=3).decoding(DecodingConfig(beams=2))

    def test_what_is_of_no_use(self) -> None:
        Request(scores=True).refuse("align", by="a picture")
        with pytest.raises(UsageError, match="align: a picture has no use for it"):
            Request(align=(0, 1)).refuse("scores", "align", by="a picture")


class TestInPlaceOfTheRecipe:
    def test_every_field_of_the_recipe_is_taken(self) -> None:
        values = {"length_penalty": "power", "alpha": 0.3, "repetition_penalty": 1.2, "no_repeat_ngram": 3, "min_length": 2}
        drawing = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "beams": 1}
        expected = DecodingConfig(**values, **drawing, max_extra=9, batch_tokens=7)  # type: ignore[arg-type]
        assert Request(**values, **drawing).decoding(DecodingConfig(max_extra=9, batch_tokens=7)) == expected  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("recipe", "given", "expected"),
        [
            ({"beams": 4}, {"samples": 3}, (1, 1.0)),
            ({"beams": 1, "temperature": 0.6}, {"samples": 3}, (1, 0.6)),
            ({"beams": 4}, {"draft": "small"}, (1, 0.0)),
            ({"beams": 1, "temperature": 0.6}, {"draft": "small"}, (1, 0.6)),
            ({"beams": 4}, {"min_p": 0.2}, (1, 1.0)),
            ({"beams": 4}, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}, (4, 0.0)),
        ],
    )
    def test_who_asks_for_one_way_leaves_the_other(
        self, recipe: dict[str, Any], given: dict[str, Any], expected: tuple[int, float]
    ) -> None:
        found = Request(**given).decoding(DecodingConfig(**recipe))
        assert (found.beams, found.temperature) == expected

    def test_options_take_the_place_of_a_request(self) -> None:
        assert request_of(Request(beams=3, seed=5), {"beams": 2}) == Request(beams=2, seed=5)


class TestEachText:
    def test_seeds_and_prefixes_one_each(self) -> None:
        options: dict[str, Any] = {"seed": range(4, 6), "prefix": ["x", ""], "beams": 1}
        assert each_asked(["a", Asked("b", glossary=["c"])], options) == [
            Asked("a", seed=4, prefix="x"),
            Asked("b", seed=5, prefix="", glossary=["c"]),
        ]
        assert options == {"beams": 1}

    def test_one_for_all_stays_in_the_request(self) -> None:
        options: dict[str, Any] = {"seed": 3, "prefix": "x"}
        assert each_asked(["a"], options) == [Asked("a")]
        assert options == {"seed": 3, "prefix": "x"}

    @pytest.mark.parametrize("options", [{"seed": [1]}, {"prefix": ["x", "y", "z"]}])
    def test_not_one_each(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="every text needs one"):
            each_asked(["a", "b"], options)


class TestGlossary:
    def test_terms(self) -> None:
        assert terms_of({"a": "A", "b": ["B", "BB"]}) == (Term(("A",), "a"), Term(("B", "BB"), "b"))
        assert terms_of(["x", ["y", "z"], Term(("t",))]) == (Term(("x",)), Term(("y", "z")), Term(("t",)))

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("a cat .", ["cat", "."]),
            ("cats concatenate", []),
            ("cat food and a cat", ["cat food", "cat"]),
            ("cat food", ["cat food"]),  # the longer one alone
            ("cat, cat; Cat", ["cat"]),
            ("l'été en c++", ["été", "c++"]),
        ],
    )
    def test_source_terms_are_whole_words(self, text: str, found: list[str]) -> None:
        terms = terms_of({one: one.upper() for one in ("cat", "cat food", "été", "c++", ".")})
        assert [term.source for term in Finder(terms)(text)] == found

    def test_where_case_is_folded(self) -> None:
        terms = terms_of({"Cat": "C"})
        assert (Finder(terms)("a cat"), Finder(terms, fold=True)("a cAT")) == ([], list(terms))

    def test_phrases_without_a_source_are_always_asked_for(self) -> None:
        assert Finder(terms_of(["x"]))("") == [Term(("x",))]

    @pytest.mark.parametrize("name", ["g.tsv", "g.tsv.gz"])
    def test_files(self, tmp_path: Path, name: str) -> None:
        text = b"chat\tcat\tkitty\r\n\n  \nvoiture rouge \t red car\n"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        assert read_glossary(tmp_path / name, sources=True) == {"chat": ["cat", "kitty"], "voiture rouge": ["red car"]}
        assert read_glossary(tmp_path / name, sources=False) == [["chat", "cat", "kitty"], ["voiture rouge", "red car"]]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"chat\n", "g.tsv:1: this is no term"),
            (b"chat\tcat\nchien\t\n", "g.tsv:2: this is no term"),
            (b"chat\tcat\nchat\tkitty\n", "g.tsv:2: the source term has been given"),
            (b"chat\tcat\xe9\n", "g.tsv:1: not UTF-8"),
        ],
    )
    def test_files_with_mistakes(self, tmp_path: Path, text: bytes, words: str) -> None:
        (tmp_path / "g.tsv").write_bytes(text)
        with pytest.raises(DataError, match=words):
            read_glossary(tmp_path / "g.tsv", sources=True)


def test_requests_are_made_without_torch() -> None:
    code = "import sys, pellucid.cli.main, pellucid.tasks.request; print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"
