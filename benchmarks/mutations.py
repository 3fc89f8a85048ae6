"""Changes at random to the content of a file: of its bytes, of its numbers, and of the tree where it is JSON."""

from __future__ import annotations

import json
import random
import re
from typing import Any

# What has been too much for readers somewhere.
ODD_BYTES = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half a character
    b"\r",
    b"\n\n",
    b"\t" * 50,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"&a [*a, *a]",
    b"!!python/object:os.system",
    b"<<: *x",
    b"? ",
    b"%YAML 9.9\n---\n",
    b"\xef\xbb\xbf",
    b"NaN",
    b"-Infinity",
    b"9" * 5000,
    b"1e999",
    b"\\ud800",
    "\u2028\U0010ffff".encode(),
    b"a" * 100_000,
)
ODD_NUMBERS = (0, -1, 1, 2, 255, 65_536, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**12, 10**30, 10**400)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    *("F16", "F64", "I32", "U32", "C64", "BOOL", "F4", "F8_E8M0"),  # types of numbers in files of weights
    "a",
    "\ud800",
    "../../etc/passwd",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    0.5,
    -0.0,
    float("nan"),
    float("inf"),
    1e308,
    *ODD_NUMBERS,
)
_NUMBER = re.compile(rb"\d+")


def changed(content: bytes, name: str, chooser: random.Random) -> bytes:
    """The content, changed in one to four places; in half of the cases where it holds JSON, in the tree."""
    for _ in range(chooser.choice((1, 1, 1, 2, 4))):
        whole = name.removesuffix(".gz")
        if whole.endswith(".json") and chooser.random() < 0.6:
            content = _json_changed(content, chooser)
        elif whole.endswith(".jsonl") and chooser.random() < 0.5:
            content = _line_changed(content, chooser)
        elif whole.endswith(".safetensors") and chooser.random() < 0.7:
            content = _header_changed(content, chooser)
        else:
            content = chooser.choice(_CHANGES)(content, chooser)
    return content


def _flip(content: bytes, chooser: random.Random) -> bytes:
    if not content:
        return content
    found = bytearray(content)
    for _ in range(chooser.choice((1, 1, 8))):
        found[chooser.randrange(len(found))] ^= 1 << chooser.randrange(8)
    return bytes(found)


def _cut(content: bytes, chooser: random.Random) -> bytes:
    return content[: chooser.randrange(len(content) + 1)]


def _without(content: bytes, chooser: random.Random) -> bytes:
    begin, end = sorted(chooser.randrange(len(content) + 1) for _ in range(2))
    return content[:begin] + content[min(end, begin + chooser.choice((1, 20, 2000))) :]


def _twice(content: bytes, chooser: random.Random) -> bytes:
    begin, end = sorted(chooser.randrange(len(content) + 1) for _ in range(2))
    end = min(end, begin + chooser.choice((1, 30, 1000)))
    return content[:end] + content[begin:end] * chooser.choice((1, 1, 3, 100)) + content[end:]


def _inserted(content: bytes, chooser: random.Random) -> bytes:
    at = chooser.randrange(len(content) + 1)
    odd = chooser.choice(ODD_BYTES) if chooser.random() < 0.8 else chooser.randbytes(chooser.choice((1, 10, 1000)))
    return content[:at] + odd + content[at + chooser.choice((0, 0, len(odd))) :]


def _other_number(content: bytes, chooser: random.Random) -> bytes:
    numbers = list(_NUMBER.finditer(content[:200_000]))
    if not numbers:
        return _inserted(content, chooser)
    number = chooser.choice(numbers)
    return content[: number.start()] + str(chooser.choice(ODD_NUMBERS)).encode() + content[number.end() :]


def _lines_swapped(content: bytes, chooser: random.Random) -> bytes:
    lines = content.split(b"\n")
    first, second = chooser.randrange(len(lines)), chooser.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


_CHANGES = (_flip, _flip, _cut, _without, _twice, _inserted, _inserted, _other_number, _other_number, _lines_swapped)


def _json_changed(content: bytes, chooser: random.Random) -> bytes:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return chooser.choice(_CHANGES)(content, chooser)
    return json.dumps(_tree_changed(tree, chooser)).encode()


def _line_changed(content: bytes, chooser: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = chooser.randrange(len(lines))
    lines[at] = _json_changed(lines[at], chooser)
    return b"\n".join(lines)


def _header_changed(content: bytes, chooser: random.Random) -> bytes:
    """The JSON at the head of a file of weights, its length put right in most cases."""
    size = int.from_bytes(content[:8], "little")
    header = _json_changed(content[8 : 8 + size], chooser)
    said = len(header) if chooser.random() < 0.9 else chooser.choice(ODD_NUMBERS) % 2**64
    return said.to_bytes(8, "little") + header + content[8 + size :]


def _tree_changed(tree: Any, chooser: random.Random) -> Any:
    """One place of the tree changed: another value, none, or one of its neighbours."""
    inside = isinstance(tree, (dict, list)) and len(tree) and chooser.random() < 0.9
    if not inside:
        return chooser.choice(ODD_VALUES) if chooser.random() < 0.8 else [tree]
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = chooser.choice(keys)
    way = chooser.random()
    if way < 0.75:
        tree[key] = _tree_changed(tree[key], chooser)
    elif way < 0.85:
        del tree[key]
    elif way < 0.95:
        tree[key] = tree[chooser.choice([other for other in keys if isinstance(tree, list) or other != key] or [key])]
    elif isinstance(tree, dict):
        tree[chooser.choice(("", "format_version", "\ud800", "added_tokens", "__metadata__", "x" * 1000))] = tree[key]
    else:
        tree.append(tree[key])
    return tree
