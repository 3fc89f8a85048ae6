"""What is asked of a model that writes: one value for all of Python's entry points and for the command line. No torch.

A :class:`Request` says how all texts of a call are to be answered, an :class:`Asked` what is asked for one of them alone. What
contradicts itself is refused when it is made, what contradicts the model or its recipe before the model runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pellucid.base.config import ConfigProblems, DecodingConfig, Penalty
from pellucid.base.errors import UsageError
from pellucid.tasks.glossary import Glossary, Term, terms_of

Utility = Literal["chrf", "bleu"]

# The fields that take the place of the recipe's section ``decoding``, by the same names.
_OF_RECIPE = (
    *("beams", "length_penalty", "alpha", "temperature", "top_k", "top_p", "min_p"),
    *("repetition_penalty", "no_repeat_ngram", "min_length"),
)
_OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # what draws, and the value at which it does nothing


@dataclass(frozen=True)
class Request:
    """How outputs are to be found. ``None``: as the recipe of the model says.

    Whoever asks for one way leaves the other: several beams search, whatever temperature the recipe has; a temperature draws,
    and so do ``top_k``, ``top_p``, ``min_p`` and ``samples``, with temperature 1 where none is named; a stream and a draft need
    one beam and take it.

    Args:
        beams, length_penalty, alpha: width of the search and what its scores are divided by.
        temperature, top_k, top_p, min_p: how tokens are drawn.
        repetition_penalty, no_repeat_ngram, min_length: what may not come, or less easily.
        tokens: most tokens of an output with its end token; ``None``: as the task has it.
        seed: of what is drawn. A text gets the same output from the same seed, alone and among others.
        n_best: outputs for each text, at most ``beams``.
        prefix: text that every output begins with.
        glossary: what outputs must hold: source terms with what they become, each a text or several spellings; or phrases that
            all outputs hold. See :mod:`pellucid.tasks.glossary`.
        ban: words and phrases that outputs never hold, as the tokenizer writes them.
        samples: minimum Bayes risk: so many outputs are drawn, from ``seed``, ``seed`` + 1, ..., and the one that agrees best
            with the others is given; 0: not so.
        utility: what agreement is measured by.
        ensemble: loaded models that vote on every token with the one asked; they have its tokenizers.
        draft: a small loaded model that proposes tokens, several at a time, for the one asked to check.
        ahead: tokens that the draft proposes at a time.
        scores: whether outputs come with the log probability of each token.
        align: layer and head of the cross-attention, from 0, from which the words of a translation are aligned with its source.

    Raises:
        UsageError: a value is out of range, or two of them contradict each other.
    """

    beams: int | None = None
    length_penalty: Penalty | None = None
    alpha: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram: int | None = None
    min_length: int | None = None
    tokens: int | None = None
    seed: int = 0
    n_best: int = 1
    prefix: str = ""
    glossary: Glossary = ()
    ban: Sequence[str] = ()
    samples: int = 0
    utility: Utility = "chrf"
    ensemble: Sequence[Any] = ()
    draft: Any = None
    ahead: int = 4
    scores: bool = False
    align: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.length_penalty not in (None, *get_args(Penalty)):
            expected = ", ".join(get_args(Penalty))
            raise UsageError("no such length penalty", expected=expected, found=self.length_penalty)
        self._check_ranges()
        self._check_ways()
        self.decoding(DecodingConfig(beams=1000))  # ranges alone, whatever the recipe has
        if self.terms and self.draft is not None:
            what = "a draft cannot propose what a glossary requires"
            raise UsageError(what, found="draft and glossary", advice="leave out one of them")

    def _check_ranges(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise UsageError("there is nothing to write", where="tokens", expected="at least 1", found=self.tokens)
        if self.tokens is not None and (self.min_length or 0) > self.tokens:
            what = "an output cannot be longer than its limit"
            raise UsageError(what, where="min_length", expected=f"at most {self.tokens}, as tokens", found=self.min_length)
        if self.samples == 1 or self.samples < 0:
            what = "one output agrees with no other"
            raise UsageError(what, where="samples", expected="0, or at least 2", found=self.samples)
        if self.utility not in get_args(Utility):
            raise UsageError("no such utility", expected=", ".join(get_args(Utility)), found=self.utility)
        if self.ahead < 1:
            raise UsageError("the draft must propose something", where="ahead", expected="at least 1", found=self.ahead)
        if isinstance(self.ban, str):
            raise UsageError("banned words are several", where="ban", expected="a list of texts", found=repr(self.ban))
        if isinstance(self.glossary, str):
            expected = "source terms with what they become, or a list of phrases"
            raise UsageError("a glossary is several terms", where="glossary", expected=expected, found=repr(self.glossary))
        if not all(word.strip() for word in self.ban):
            raise UsageError("a banned word is empty", where="ban", found=list(self.ban), advice="leave it out")

    def _check_ways(self) -> None:
        """What can't be had together, whatever the recipe says."""
        beams = self.beams or 1
        drawing = self._drawing()
        if beams > 1 and drawing:
            what = "several beams search, and what is searched for is not drawn"
            raise UsageError(what, where="beams", expected=f"1 with {drawing}", found=beams, advice="leave out one of them")
        if self.temperature == 0.0 and drawing:
            what = "temperature 0 draws nothing"
            raise UsageError(
                what, where="temperature", expected=f"above 0 with {drawing}", found=0, advice="leave out one of them"
            )
        if beams > 1 and self.draft is not None:
            raise UsageError("a draft proposes for one beam", where="beams", expected=1, found=beams)
        single = "samples" if self.samples else "draft" if self.draft is not None else drawing
        if self.n_best > 1 and single:
            what = "one output a text is all there is"
            raise UsageError(what, where="n_best", expected=f"1 with {single}", found=self.n_best, advice="search with beams")

    def _drawing(self) -> str:
        """The first option that draws, by its name; nothing: none does."""
        if (self.temperature or 0.0) > 0.0:
            return "temperature"
        named = [name for name, off in _OFF.items() if getattr(self, name) not in (None, off)]
        return (*named, "samples" if self.samples else "")[0]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Those of the glossary."""
        return terms_of(self.glossary)

    def decoding(self, recipe: DecodingConfig) -> DecodingConfig:
        """What the recipe says, with what is asked for in its place.

        Raises:
            UsageError: a value is out of range, or there are more outputs than beams.
        """
        given: dict[str, Any] = {name: value for name in _OF_RECIPE if (value := getattr(self, name)) is not None}
        if given.get("beams", 1) > 1:
            given.setdefault("temperature", 0.0)
        elif self._drawing() and recipe.temperature == 0.0:
            given.setdefault("temperature", 1.0)
        if given.get("temperature", 0.0) > 0.0 or self._drawing() or self.draft is not None:
            given.setdefault("beams", 1)
        try:
            config = replace(recipe, **given)
        except ConfigProblems as error:
            raise UsageError(str(error)) from None
        if not 1 <= self.n_best <= config.beams:
            what = "a search gives at least one output a text, and at most as many as it has beams"
            advice = "ask for fewer outputs or for more beams"
            raise UsageError(what, where="n_best", expected=f"1 to {config.beams}", found=self.n_best, advice=advice)
        return config

    def streamed(self) -> Request:
        """The same with one beam, for outputs that are given out while they grow.

        Raises:
            UsageError: what is asked for is known only when the output is complete.
        """
        beams = f"{self.beams} beams" if (self.beams or 1) > 1 else ""
        whole = {"samples": self.samples, "draft": self.draft, "scores": self.scores, "align": self.align}
        found = beams or (f"n_best {self.n_best}" if self.n_best > 1 else "")
        found = found or next((name for name, value in whole.items() if value), "")
        if found:
            raise UsageError("this is not known before the output is complete", found=f"a stream with {found}")
        return replace(self, beams=1)

    def refuse(self, *names: str, by: str) -> None:
        """Raises a usage error where one of these fields is asked of something that has no use for it."""
        for name in names:
            if getattr(self, name):
                raise UsageError(f"{by} has no use for it", where=name, advice=f"leave out {name}")


@dataclass(frozen=True)
class Asked:
    """A text, and what is asked for it alone.

    Args:
        text: to be answered.
        seed, prefix: instead of those of the request.
        glossary: besides that of the request.
    """

    text: str
    seed: int | None = None
    prefix: str | None = None
    glossary: Glossary = ()


def request_of(request: Request | None, options: Mapping[str, Any]) -> Request:
    """The request that was given, with options by the names of its fields in their place.

    Raises:
        UsageError: no such option, or one out of range.
    """
    known = [field.name for field in fields(Request)]
    for name in options.keys() - set(known):
        near = get_close_matches(name, known, 1)
        raise UsageError("no such option", found=name, advice=f"did you mean {near[0]}?" if near else None)
    return replace(request or Request(), **options)


def asked_of(text: str | Asked) -> Asked:
    """A text that is asked for as the request says, if nothing is said of it alone."""
    return text if isinstance(text, Asked) else Asked(text)


def each_asked(texts: str | Asked | Iterable[str | Asked], options: dict[str, Any]) -> list[Asked]:
    """One text or several, with their own seeds and prefixes where ``options`` has one for each, which are taken out of it.

    Raises:
        UsageError: there are more or fewer than texts.
    """
    asked = [asked_of(text) for text in ([texts] if isinstance(texts, str | Asked) else texts)]
    for name in ("seed", "prefix"):
        if not isinstance(options.get(name, 0), int | str):
            own = list(options.pop(name))
            if len(own) != len(asked):
                raise UsageError(f"every text needs one {name}", where=name, expected=len(asked), found=len(own))
            asked = [replace(one, **{name: value}) for one, value in zip(asked, own, strict=True)]
    return asked
