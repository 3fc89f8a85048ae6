"""One output, token by token as it is chosen: the same ids that a search gives, and text that can be shown at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pellucid.base.errors import UsageError
from pellucid.decoding.greedy import Greedy
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.search import Strategy

_UNFINISHED = "\ufffd"  # what decoding makes of bytes that are no whole character


@dataclass(frozen=True)
class Token:
    """A token that was chosen, and its natural log probability, before temperature and filters."""

    id: int
    log_probability: float


def stream(search: Iterable[Strategy]) -> Generator[Token, None, Hypothesis]:
    """The tokens of one output, each as soon as it is chosen, the end token left out; at last the whole.

    Args:
        search: what :func:`pellucid.decoding.search.searching` gives for one sentence with one beam, greedy or drawing; of
            several beams tokens could be taken back.

    Returns:
        An iterator. A generator that says ``yield from`` gets the finished output, which is what ``search`` finds for the same
        request; its log probability counts the end token, too.

    Raises:
        UsageError: several beams or several sentences.
        NothingToChooseError: as ``search``.
    """
    n_given, total = 0, 0.0
    for strategy in search:
        if not isinstance(strategy, Greedy) or len(strategy.hypotheses) != 1:  # drawing is greedy search that draws
            raise UsageError("only one output can be streamed", expected="one sentence and one beam", found="more")
        if strategy.live:
            before, total = total, strategy.totals.item()
            n_given += 1
            yield Token(int(strategy.tokens[0, -1]), total - before)
    [[found]] = strategy.hypotheses
    if len(found.ids) > n_given:  # cut at its limit, not ended
        yield Token(found.ids[-1], found.log_probability - total)
    return found


class Growing:
    """The ids of a stream, one by one, and then what it found."""

    found: Hypothesis  # the whole output, once all tokens have been read

    def __init__(self, tokens: Generator[Token, None, Hypothesis]) -> None:
        self._tokens = tokens

    def __iter__(self) -> Iterator[int]:
        return (token.id for token in self._kept())

    def _kept(self) -> Iterator[Token]:
        self.found = yield from self._tokens


def text_pieces(ids: Iterable[int], decode: Callable[[Sequence[int]], str], *, before: Sequence[int] = ()) -> Iterator[str]:
    """Text as it grows: of each token what can be shown already; a character whose bytes are not all there waits for the rest.

    Joined, the pieces are ``decode([*before, *ids])`` without what ``decode(before)`` begins it with.

    Args:
        ids: tokens, read one by one.
        decode: the tokenizer's, ids to text.
        before: tokens that stand before them, as those of a prompt: whether a first space is shown depends on them.
    """
    # Not all is decoded again for every token: what was shown last decides what a first space means, nothing before it does.
    context, waiting = list(before), []
    for token in ids:
        waiting.append(token)
        shown, text = decode(context), decode([*context, *waiting])
        if len(text) > len(shown) and not text.endswith(_UNFINISHED):
            yield text[len(shown) :]
            context, waiting = waiting, []
    if rest := decode([*context, *waiting])[len(decode(context)) :]:  # a character that stays unfinished
        yield rest
