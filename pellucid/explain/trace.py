"""A trace: every number that a model computed for one input, by name, with its axes and what stands along them.

Nothing here imports torch, so that a saved trace can be read where there is none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pellucid.base.errors import UsageError
from pellucid.base.taps import TapRow

if TYPE_CHECKING:
    from pellucid.explain.check import Report
    from pellucid.explain.difference import Difference

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tapped:
    """One tap: an array whose axes have names, and labels where tokens, classes or positions stand along them.

    ``numpy.asarray`` of it is the array itself.

    Args:
        name: full, as ``"encoder.layers.0.self_attn.q"``.
        row: of the table of taps: symbol, formula, what it is.
        axes: the name of each axis.
        labels: of each axis, or ``None`` where it is just numbered.
        array: the numbers; there is no batch.
    """

    name: str
    row: TapRow
    axes: tuple[str, ...]
    labels: tuple[tuple[str, ...] | None, ...]
    array: Array

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    def __repr__(self) -> str:
        sizes = " x ".join(f"{axis} {size}" for axis, size in zip(self.axes, self.shape, strict=True))
        return f"<{self.name}: {sizes}>"


@dataclass(frozen=True)
class Candidate:
    """A token that was considered at a step of decoding.

    Args:
        beam: the beam that it would extend.
        token: its id; ``name``: as it is read.
        log_probability: of the token alone, natural; before temperature and filters.
        score: the sum of the log probabilities with it.
        fate: ``"chosen"``: the output, or a beam, goes on with it; ``"ended"``: it closed an output; ``"kept"``: it might have
            been drawn; ``"dropped"``.
    """

    beam: int
    token: int
    name: str
    log_probability: float
    score: float
    fate: str


@dataclass(frozen=True)
class Step:
    """One step of decoding.

    Args:
        number: from 0.
        candidates: what was considered, best first.
        written: the tokens of each beam after the step, as they are read.
        parents: the beam that each of them was before it.
        draw: the random number, from 0 to below 1, where tokens are drawn.
    """

    number: int
    candidates: tuple[Candidate, ...]
    written: tuple[tuple[str, ...], ...]
    parents: tuple[int, ...]
    draw: float | None = None


@dataclass
class Trace:
    """What :meth:`explain` returns. ``trace["encoder.layers.0.self_attn.q"]`` is one tap; globs select several.

    Args:
        text: what was asked, for the reader.
        taps: by name, in the order in which they were computed.
        inputs: what the model was given, as arrays: ``source`` (ids or pixels), ``target``, and their masks.
        names: of the tokens of ``source`` and of ``target``, and of the ``written`` ones.
        vocabulary: the name of each output: token or class.
        steps: of decoding, where there was any.
        output: the text that was written; the class; ``None`` where there is neither.
        edits: what was changed, in words.
        edited: names of the taps that an edit changed.
        about: the model's configuration as a tree.
        writing: how the output was found, see :func:`pellucid.explain.explain.told`; empty where nothing is written.
        model: that computed it; ``None`` in a trace that was read from a file.
        source_name: tokens of the source to what they are read as; ``None`` there, and where the source is no text.
    """

    text: str
    taps: dict[str, Tapped]
    inputs: dict[str, Array]
    names: dict[str, tuple[str, ...]]
    vocabulary: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    output: str | None = None
    edits: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    writing: Mapping[str, Any] = field(default_factory=dict)
    model: Any = field(default=None, repr=False)
    source_name: Callable[[Sequence[int]], list[str]] | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Tapped:
        """The tap of this name.

        Raises:
            UsageError: there is none; the advice names the nearest.
        """
        if name not in self.taps:
            raise _unknown(name, self.taps)
        return self.taps[name]

    def __contains__(self, name: object) -> bool:
        return name in self.taps

    def __iter__(self) -> Iterator[str]:
        return iter(self.taps)

    def __len__(self) -> int:
        return len(self.taps)

    def _repr_mimebundle_(self, **asked: Any) -> dict[str, str]:
        """How a notebook shows a trace: as the page, in a frame; as text where there is no HTML, or too much of it."""
        from pellucid.explain.notebook import bundle

        return bundle(self)

    def select(self, *patterns: str) -> dict[str, Tapped]:
        """The taps whose names match any of the globs, as ``"*.cross_attn.weights"``, in their order.

        Raises:
            UsageError: a glob matches nothing.
        """
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.taps):
                raise _unknown(pattern, self.taps)
        return {name: tap for name, tap in self.taps.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}

    def check(self) -> Report:
        """Compute every tap anew in float64 NumPy, from the taps before it and the weights. See :mod:`.check`.

        Raises:
            UsageError: the trace came from a file, so that there are no weights.
        """
        from pellucid.explain.check import check

        return check(self)

    def diff(self, other: Trace) -> Difference:
        """What changed against another trace of the same input: probabilities of each next token, and the output."""
        from pellucid.explain.difference import difference

        return difference(other, self)

    def save(self, path: str | Path, *, tap: str | None = None) -> None:
        """Write ``.npz`` or ``.json`` (everything, to be read by :func:`pellucid.explain.files.load`), ``.html`` (everything,
        to be read by people), or a picture of one tap, ``.svg`` or ``.png``.

        Args:
            path: its ending decides.
            tap: the one to draw; default: the attention weights of the last layer, those to the source where there are any.

        Raises:
            UsageError: another ending, or no such tap.
        """
        from pellucid.explain.files import save

        save(self, Path(path), tap)


def _unknown(name: str, known: Sequence[str] | Mapping[str, Any]) -> UsageError:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.3)
    advice = f"did you mean {near[0]}?" if near else "see docs/reference/taps.md"
    return UsageError("the trace has no such tap", found=name, expected=f"one of its {len(known)} names", advice=advice)
