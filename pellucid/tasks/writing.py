"""From a request to a search: what every task that writes does between its tensors and its texts.

Legend: N texts of a batch, S source length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from pellucid.base.errors import UsageError
from pellucid.decoding.alternatives import Alternative, alternatives
from pellucid.decoding.ensemble import Ensemble
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.minimum_bayes_risk import least_risk
from pellucid.decoding.phrases import Phrase
from pellucid.decoding.rules import BannedWords, Rule
from pellucid.decoding.scoring import token_log_probabilities
from pellucid.decoding.search import Strategy, search, searching
from pellucid.decoding.speculative import speculate
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.glossary import Finder, Term
from pellucid.tasks.loaded import Loaded
from pellucid.tasks.output import EMPTY, Output, Scored
from pellucid.tasks.request import Asked, Request, Utility
from pellucid.tasks.spelling import banned_of, prefix_of, spellings_of

POSITIONS = 1024  # of a pass over outputs that are known, each with a row of numbers as wide as the vocabulary

Item = TypeVar("Item")


@dataclass(frozen=True)
class Wanted:
    """What is asked for one text, in tokens."""

    seed: int
    prefix: Sequence[int] = ()
    required: Sequence[Phrase] = ()


class Writer:
    """A model with a request: checked once, before the model runs, and then used for any number of batches.

    Args:
        loaded: the model that is asked.
        request: how.
        tokenizer: of what is written.
        end: the token that closes an output; ``None``: nothing but its limit does.
        never: tokens that are never written.

    Raises:
        UsageError: the recipe contradicts the request, the tokenizer cannot write what is asked for, or the models do not fit
            together.
    """

    def __init__(
        self, loaded: Loaded[Any], request: Request, *, tokenizer: AnyTokenizer, end: int | None, never: Sequence[int]
    ) -> None:
        self.request, self.tokenizer, self.end, self.never = request, tokenizer, end, never
        self.config = request.decoding(loaded.config.decoding)
        self.others = [*request.ensemble, *([] if request.draft is None else [request.draft])]
        for other in self.others:
            check_together(loaded, other)
        models = [one.writing_model() for one in (loaded, *request.ensemble)]
        self.model: Any = models[0] if len(models) == 1 else Ensemble(models)
        self.draft: Any = None if request.draft is None else request.draft.writing_model()
        self.device = loaded.device
        banned = banned_of(tokenizer, request.ban)
        self.rules: list[Rule] = [BannedWords(banned)] if banned else []
        self._fold = loaded.config.text.lowercase
        self._phrases: dict[Term, Phrase] = {}
        self._spell(request.terms)
        self._find = Finder(request.terms, fold=self._fold)
        prefix_of(tokenizer, request.prefix, never)

    def _spell(self, terms: Sequence[Term]) -> None:
        for term in terms:
            if term not in self._phrases:
                self._phrases[term] = spellings_of(self.tokenizer, term, self.never)

    @property
    def empty(self) -> Output:
        """The answer to a text of white space, with all that the request asks for."""
        aligned = None if self.request.align is None else frozenset[tuple[int, int]]()
        return replace(EMPTY, tokens=() if self.request.scores else None, alignment=aligned)

    @property
    def counts(self) -> bool:
        """Whether what may come depends on what has been written."""
        config = self.config
        return bool(self.rules) or config.repetition_penalty != 1.0 or config.no_repeat_ngram > 0 or config.min_length > 0

    @property
    def rows(self) -> int:
        """Of a batch, for each text: beams, or outputs that are drawn."""
        return self.config.beams * max(self.request.samples, 1)

    def longest(self, own: int) -> int:
        """Most tokens that all models have positions for, if the one asked has as many as ``own``."""
        return min([own, *(other.config.model.max_length for other in self.others)])

    def wanted(self, asked: Asked, *, before: str | None = None) -> Wanted:
        """What is asked for a text, in tokens.

        Args:
            asked: the text with its own wishes.
            before: text that the output goes on from; ``None``: it stands for itself.
        """
        terms = self._find(asked.text)
        if asked.glossary:
            own = replace(self.request, glossary=asked.glossary).terms
            self._spell(own)
            terms += [term for term in Finder(own, fold=self._fold)(asked.text) if term not in terms]
        return Wanted(
            self.request.seed if asked.seed is None else asked.seed,
            prefix_of(self.tokenizer, self.request.prefix if asked.prefix is None else asked.prefix, self.never, before=before),
            [self._phrases[term] for term in terms],
        )

    def write(
        self, source: Tensor, mask: Tensor, wanted: Sequence[Wanted], *, start: int | Tensor, limits: Tensor, **more: Any
    ) -> list[list[Hypothesis]]:
        """The outputs of a batch: found, drawn, or proposed and checked.

        Args:
            source, mask, start: as :func:`pellucid.decoding.search.search` takes them.
            wanted: of each text.
            limits: (N,) most tokens of each.
            more: other arguments of the search.
        """
        asked = self._arguments(wanted, start, limits) | more
        source, mask = source.to(self.device), mask.to(self.device)
        if self.draft is None:
            return search(self.model, source, mask, self.config, n_best=self.request.n_best, **asked)
        del asked["required"]
        found = speculate(self.model, self.draft, source, mask, self.config, ahead=self.request.ahead, **asked)
        return [[one.hypothesis] for one in found]

    def steps(
        self, source: Tensor, mask: Tensor, wanted: Wanted, *, start: int | Tensor, limits: Tensor, **more: Any
    ) -> Iterator[Strategy]:
        """The same for one text, step by step."""
        asked = self._arguments([wanted], start, limits) | more
        return searching(self.model, source.to(self.device), mask.to(self.device), self.config, **asked)

    def _arguments(self, wanted: Sequence[Wanted], start: int | Tensor, limits: Tensor) -> dict[str, Any]:
        return {
            "start": start,
            "end": self.end,
            "limits": limits,
            "forbidden": self.never,
            "seeds": [one.seed for one in wanted],
            "rules": self.rules,
            "prefixes": [one.prefix for one in wanted] if any(one.prefix for one in wanted) else None,
            "required": [one.required for one in wanted] if any(one.required for one in wanted) else None,
        }

    def alternatives(
        self, source: Tensor, mask: Tensor, wanted: Wanted, n: int, *, start: int, limit: int
    ) -> list[Alternative]:
        """The ``n`` most probable tokens after the prefix that is wanted of one text, each with the output it leads to.

        Raises:
            UsageError: nothing can come after the prefix; or as :func:`pellucid.decoding.alternatives.alternatives`.
        """
        self.request.refuse("draft", "samples", "scores", "align", by="a list of alternatives")
        return alternatives(
            self.model,
            source.to(self.device),
            mask.to(self.device),
            self.config,
            n=n,
            prefix=wanted.prefix,
            start=start,
            end=self.end,
            limit=limit,
            forbidden=self.never,
            seed=wanted.seed,
            rules=self.rules,
            required=wanted.required,
        )

    def written(self, found: Hypothesis) -> list[int]:
        """Tokens of an output with the end token, if it was chosen."""
        return [*found.ids, *([self.end] if found.reason == "end" and self.end is not None else [])]

    def log_probabilities(
        self, source: Tensor, mask: Tensor, outputs: Sequence[Sequence[int]], *, start: int | Tensor
    ) -> list[list[float]]:
        """Of every token of given outputs, one for each source; what the models give it, whatever the request changes."""
        found: list[list[float]] = []
        rows = max(POSITIONS // max(map(len, outputs), default=1), 1)
        for first in range(0, len(outputs), rows):
            some = slice(first, first + rows)
            begun = start if isinstance(start, int) else start[some]
            sides = source[some].to(self.device), mask[some].to(self.device)
            found += token_log_probabilities(self.model, *sides, outputs[some], start=begun)
        return found

    def scored(self, ids: Sequence[int], values: Sequence[float]) -> tuple[Scored, ...]:
        """Tokens as they are read, each with its log probability."""
        return tuple(map(Scored, self.tokenizer.tokens(ids), values))


def check_together(one: Loaded[Any], other: Loaded[Any]) -> None:
    """Raises a usage error unless two models read and write the same tokens, by the saved form of their tokenizers."""
    what, advice = "the models do not share their tokenizers", "take models that were trained with the same tokenizers"
    tasks = one.config.task, other.config.task
    if tasks[0] != tasks[1]:
        raise UsageError("the models have different tasks", expected=tasks[0], found=tasks[1])
    for side, *both in zip(("source", "target"), one.tokenizers, other.tokenizers, strict=False):
        if both[0].fingerprint != both[1].fingerprint:
            shown = [f"{tokenizer.vocabulary_size:,} tokens, SHA-256 {tokenizer.fingerprint[:8]}" for tokenizer in both]
            raise UsageError(what, where=f"tokenizer of the {side}", expected=shown[0], found=shown[1], advice=advice)
    sizes = [loaded.config.model.target_vocabulary for loaded in (one, other)]
    if sizes[0] != sizes[1]:
        raise UsageError(what, where="model.target_vocabulary", expected=sizes[0], found=sizes[1], advice=advice)
    if one.device != other.device:
        raise UsageError("the models are on different devices", expected=one.device, found=other.device)


def drawn_often(items: Sequence[tuple[Item, Wanted]], samples: int) -> list[tuple[Item, Wanted]]:
    """Every item as often as outputs are drawn for it, from its seed on; once if none are."""
    return [(item, replace(want, seed=want.seed + n)) for item, want in items for n in range(max(samples, 1))]


def agreeing(outputs: Sequence[list[Output]], samples: int, utility: Utility) -> list[list[Output]]:
    """Of all that was drawn for each text the output that agrees best with the others; all as they are if nothing was."""
    if not samples:
        return list(outputs)
    groups = [[output for [output] in outputs[first : first + samples]] for first in range(0, len(outputs), samples)]
    return [[group[least_risk([output.text for output in group], utility)]] for group in groups]
