"""Attention between words rather than tokens, of many sentences at once.

Shapes: H heads, T queries, S keys, in tokens; Q queries, K keys, in words.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.data.corpus import words
from pellucid.tasks.framing import pad_of, start_of
from pellucid.tasks.pairs import encode, pad

ROWS = 50  # sentences whose attention is computed together
KINDS = ("encoder.self_attn", "decoder.self_attn", "decoder.cross_attn")


@dataclass(frozen=True)
class Text:
    """One side of a pair as the model reads it.

    Args:
        ids: tokens, the end token last.
        word: of each token, the word that it is part of (as the corpus counts); ``None``: the end token.
        count: of words.
    """

    ids: list[int]
    word: list[int | None]
    count: int


def read(tokenizer: Any, text: str, longest: int) -> Text:
    """A text as tokens, and the corpus' words that these are part of."""
    ids, own = encode(tokenizer, text, longest, text), words(text)
    return Text(ids, word_of_each(ids, own, tokenizer.decode), len(own))


def word_of_each(ids: Sequence[int], own: Sequence[str], decode: Callable[[Sequence[int]], str]) -> list[int | None]:
    """The word that each token begins in, counted from 0; ``None`` for a token without letters.

    Args:
        ids: tokens of a text from its beginning.
        own: its words: together, without spaces, they are the text.
        decode: ids to text.
    """
    owner = [number for number, word in enumerate(own) for _ in word]  # of each letter
    lengths = [0, *(len("".join(decode(ids[:end]).split())) for end in range(1, len(ids) + 1))]
    return [owner[begin] if begin < end else None for begin, end in itertools.pairwise(lengths)]


def attention(translator: Any, sources: Sequence[Text], targets: Sequence[Text]) -> Iterator[dict[str, list[Tensor]]]:
    """The weights of each pair, fed as it stands: by kind (see `KINDS`), (H, T, S) of each layer.

    Target positions are those of the tokens *written*: row t wrote token t, and read the one before it.
    """
    for first in range(0, len(sources), ROWS):
        some, written = sources[first : first + ROWS], targets[first : first + ROWS]
        maps = _maps(translator, some, written)
        for row, (source, target) in enumerate(zip(some, written, strict=True)):
            s, t = len(source.ids), len(target.ids)
            sizes = {"encoder.self_attn": (s, s), "decoder.self_attn": (t, t), "decoder.cross_attn": (t, s)}
            yield {kind: [layer[row, :, :q, :k] for layer in maps[kind]] for kind, (q, k) in sizes.items()}


@torch.inference_mode()
def _maps(translator: Any, sources: Sequence[Text], targets: Sequence[Text]) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}

    def tap(name: str, tensor: Tensor) -> Tensor:
        if name.endswith("_attn.weights"):
            stack, _, _, attention_name, _ = name.split(".")
            found[f"{stack}.{attention_name}"].append(tensor.float())
        return tensor

    tokenizer = translator.target_tokenizer
    source, mask = pad([text.ids for text in sources], pad_of(translator.source_tokenizer))
    fed, _ = pad([[start_of(tokenizer), *text.ids[:-1]] for text in targets], pad_of(tokenizer))
    translator.model.eval()(source, fed, source_mask=None if mask.all() else mask, tap=tap)
    return found


def by_words(weights: Tensor, queries: Sequence[int | None], keys: Sequence[int | None]) -> Tensor:
    """(H, T, S) of tokens -> (H, Q, K + 1) of words: the mean over a query's tokens of the sum over a key's (Clark et al. 2019,
    section 4). What goes to tokens that are part of no word stands in the last column."""
    n_queries, n_keys = _count(queries), _count(keys)
    rows = torch.zeros(n_queries, len(queries))
    for at, word in enumerate(queries):
        if word is not None:
            rows[word, at] = 1.0
    columns = torch.zeros(len(keys), n_keys + 1)
    for at, word in enumerate(keys):
        columns[at, n_keys if word is None else word] = 1.0
    return rows / rows.sum(1, keepdim=True).clamp(min=1) @ weights @ columns


def _count(some: Sequence[int | None]) -> int:
    return max((word for word in some if word is not None), default=-1) + 1
