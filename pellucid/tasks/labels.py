"""Names of classes: texts in a corpus, numbers in a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pellucid.base.errors import DataError, ModelError
from pellucid.base.files import write_atomically

LABELS = "labels.json"
MOST_DEGREES = 10_000  # each of them up to the largest is a class, and has a row of weights


class Labels:
    """The classes of a model, in the order of their numbers.

    Args:
        names: one a class, all different.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._ids = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def of(cls, names: Iterable[str], *, degrees: bool = False) -> Labels:
        """Those that occur in a training split: in the order of the alphabet, or 0 to the largest number.

        Raises:
            DataError: there is only one, or a degree is no whole number from 0, or too large.
        """
        found = set(names)
        if degrees:
            wrong = sorted(name for name in found if not _is_degree(name))
            if wrong:
                expected = f"whole numbers from 0 to {MOST_DEGREES - 1:,} (data.labels: degrees)"
                shown = ", ".join(repr(name[:60]) for name in wrong[:5])
                raise DataError("a label is no degree", expected=expected, found=shown)
            found = {str(degree) for degree in range(max(map(int, found), default=0) + 1)}
        if len(found) < 2:
            advice = "look at the second column of the training split"
            raise DataError("there are not two classes", found=", ".join(found) or "none", advice=advice)
        return cls(sorted(found, key=int) if degrees else sorted(found))

    @classmethod
    def load(cls, directory: Path) -> Labels:
        """Read ``labels.json``.

        Raises:
            ModelError: it is missing or damaged.
        """
        path = directory / LABELS
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError("the names of the classes cannot be read", where=path, found=error) from None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ModelError("the names of the classes are damaged", where=path, expected="a list of different texts")
        return cls(names)

    def save(self, directory: Path) -> None:
        """Write ``labels.json``."""
        write_atomically(directory / LABELS, (json.dumps(self.names, ensure_ascii=False, indent=1) + "\n").encode())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names in their order, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()

    def id(self, name: str) -> int:
        """The number of a class.

        Raises:
            DataError: there is no such class.
        """
        if name not in self._ids:
            known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            advice = "a class must occur in the training split"
            raise DataError("no such class", expected=known, found=repr(name), advice=advice)
        return self._ids[name]


def _is_degree(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 1000 and int(name) < MOST_DEGREES  # Python reads no longer ones
