"""The README of a model that leaves: what the files are, and a few lines of Python that use them without this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TEXT = "Write a text here."  # the example's


@dataclass(frozen=True)
class Reading:
    """How a text becomes the tokens that a model reads, and what it may write.

    Args:
        files: of the tokenizers of source and target; two times the same where they share one; ``None``: there are none.
        before, after: control tokens around a text.
        start: what a decoder reads first.
        end: what closes an output; ``None``: nothing does.
        never: what an output never holds.
        longest: most tokens that there are positions for; 0: no limit.
        extra: most tokens of an output beyond those of its source.
        special: whether a text could spell control tokens, unless the library is told otherwise.
        pieces: the file with the ids of the pieces, where they are not the tokenizer's own.
        unknown: the id of a piece that has none.
    """

    files: tuple[str, str] | None
    before: Sequence[int] = ()
    after: Sequence[int] = ()
    start: int | None = None
    end: int | None = None
    never: Sequence[int] = ()
    longest: int = 0
    extra: int = 0
    special: bool = False
    pieces: str | None = None
    unknown: int | None = None


def for_ctranslate2(task: str, reading: Reading, before: Sequence[str], never: Sequence[str], *, alone: bool) -> str:
    """The README of a model for CTranslate2. ``before`` and ``never`` are the names of those tokens; ``alone``: no encoder."""
    assert reading.files is not None
    lines = ["import ctranslate2", *_tokenizers(reading)]
    banned = f"{[[name] for name in never]!r}"
    if alone:
        lines += [
            'generator = ctranslate2.Generator(".")',
            f"tokens = {_plus(list(before))}source.encode({TEXT!r}, add_special_tokens=False).tokens",
            f"longest = {_most('len(tokens)', reading)}",
            f"options = dict(max_length=longest, sampling_topk=1, include_prompt_in_result=False, suppress_sequences={banned})",
            "[found] = generator.generate_batch([tokens], **options)",
            "print(target.decode(found.sequences_ids[0]))",
        ]
        advice = f"A prompt and its continuation may have {reading.longest} tokens together." if reading.longest else ""
    else:
        lines += [
            'translator = ctranslate2.Translator(".")',
            f"tokens = source.encode({TEXT!r}, add_special_tokens=False).tokens",
            f"longest = min(len(tokens) + {len(reading.before) + len(reading.after) + reading.extra}, {reading.longest})",
            f"options = dict(beam_size=1, min_decoding_length=0, max_decoding_length=longest, suppress_sequences={banned})",
            "[found] = translator.translate_batch([tokens], **options)",
            f"print({_joined('found.hypotheses[0]', reading)})",
        ]
        advice = f"""A source may have {reading.longest} tokens, and so may an output.

This is the greedy search, with the outputs that it has in pellucid. Of the beam searches there `length_penalty: none` is
`length_penalty=0` here, and `power` is `length_penalty=alpha, patience=1000`, but that the suppressed tokens leave their
probability to the others; `gnmt` is not to be had."""
    return _page(task, "CTranslate2", "ctranslate2 tokenizers", lines, advice)


def for_onnx(task: str, reading: Reading, kind: str, picture: tuple[int, int, int] | None, *, types: bool) -> str:
    """The README of ONNX graphs.

    Args:
        task: of the model.
        reading: its texts.
        kind: "encoder-decoder", "encoder" or "decoder".
        picture: channels, height and width of what it reads, where that is pictures.
        types: whether an encoder is told the types of tokens.
    """
    lines = ["import numpy as np", "import onnxruntime"]
    lines += _tokenizers(reading) if reading.files is not None and (kind != "encoder" or picture is None) else []
    lines += ["", *_LOAD, ""]
    if picture is not None:
        lines.append(f"pixels = np.zeros({(1, *picture)}, np.float32)  # a picture, made ready as config and preprocessor say")
    else:
        text = f"source.encode({TEXT!r}, add_special_tokens=False).ids" if reading.files is not None else "[5, 6, 7]"
        if reading.pieces is not None:
            lines += ["import json", "from pathlib import Path", ""]
            lines.append(f'pieces = json.loads(Path("{reading.pieces}").read_text(encoding="utf-8"))["pieces"]')
            text = f"[pieces.get(piece, {reading.unknown}) for piece in {text.removesuffix('.ids')}.tokens]"
        framed = f"{_plus(list(reading.before))}{text}{f' + {list(reading.after)}' if reading.after else ''}"
        lines.append(f"ids = np.array([{framed}])")
    lines += _classified(picture is not None, types) if kind == "encoder" else _written(kind, picture is not None, reading)
    return _page(task, "ONNX", "onnxruntime tokenizers", lines, _GRAPHS[kind])


_LOAD = [
    "def run(name, **inputs):",
    '    session = onnxruntime.InferenceSession(f"{name}.onnx")',
    "    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))",
]
_GRAPHS = {
    "encoder": "`model.onnx` is the whole model. Masks are boolean: true for a real token, false for padding.",
    "decoder": """`decoder_first.onnx` reads a prompt, `decoder_step.onnx` one more token with the keys and values of those
before it. Masks are boolean: true for a real token, false for padding, which may stand before a prompt. Keep the sessions where
speed matters.""",
    "encoder-decoder": """`encoder.onnx` reads the source, `decoder_first.onnx` the first tokens of the output,
`decoder_step.onnx` one more token with the keys and values of those before it. Masks are boolean: true for a real token, false
for padding. All inputs have one row for each output that is written, so beams repeat those of their source. Keep the sessions
where speed matters.""",
}


def _classified(pictures: bool, types: bool) -> list[str]:
    """The lines that ask an encoder."""
    given = "pixels=pixels" if pictures else "ids=ids, mask=np.ones(ids.shape, bool)"
    given += ", types=np.zeros_like(ids)" if types else ""
    return [f'logits = run("model", {given})["logits"]', "print(logits.argmax(-1))"]


def _written(kind: str, pictures: bool, reading: Reading) -> list[str]:
    """The lines that have a decoder write, with a source or without one."""
    if kind == "decoder":
        begin = ["mask = np.ones(ids.shape, bool)", 'found = run("decoder_first", ids=ids, mask=mask)']
        inputs, fixed, limit = "mask=mask, ", "", _most("ids.shape[1]", reading)
        grow = ["        mask = np.ones((1, mask.shape[1] + 1), bool)"]
    else:
        source = "pixels=pixels" if pictures else "source=ids, **mask"
        begin = [
            "mask = {}" if pictures else "mask = dict(source_mask=np.ones(ids.shape, bool))",
            f'memory = run("encoder", {source})',
            f'found = run("decoder_first", ids=np.array([[{reading.start}]]), **mask, **memory)',
            'source_cache = {name: value for name, value in found.items() if name.startswith("source")}',
        ]
        inputs, fixed, grow = "**mask, ", "**source_cache, ", []
        limit = (
            f"{min(reading.extra, reading.longest)}" if pictures else f"min(ids.shape[1] + {reading.extra}, {reading.longest})"
        )
    shown = "target.decode(written)" if reading.files is not None else "written"
    if reading.pieces is not None:
        shown = _joined("[piece for id in written for piece in pieces if pieces[piece] == id]", reading)
    step = f'found = run("decoder_step", ids=np.array([[token]]), {inputs}{fixed}**past)'
    return [
        *begin,
        "written = []",
        f"for place in range({limit}):",
        "    if place > 0:",
        *grow,
        '        past = {name.replace("present", "past"): value for name, value in found.items() if name.startswith("p")}',
        f"        {step}",
        *([f'    found["logits"][..., {list(reading.never)}] = -np.inf'] if reading.never else []),
        '    token = int(found["logits"][0, -1].argmax())',
        *([f"    if token == {reading.end}:", "        break"] if reading.end is not None else []),
        "    written.append(token)",
        f"print({shown})",
    ]


def _tokenizers(reading: Reading) -> list[str]:
    assert reading.files is not None
    source, target = reading.files
    lines = ["from tokenizers import Tokenizer", "", f'source = Tokenizer.from_file("{source}")']
    if reading.special:
        lines.append("source.encode_special_tokens = True  # no text spells a control token")
    return [*lines, "target = source" if target == source else f'target = Tokenizer.from_file("{target}")']


def _joined(names: str, reading: Reading) -> str:
    """The text of tokens given by their names; a public model's table can have rows that its vocabulary does not name."""
    if reading.pieces is not None:
        return f"target.decoder.decode({names}).strip()"
    if reading.special:
        return f"target.decode([id for id in map(target.token_to_id, {names}) if id is not None])"
    return f"target.decode([target.token_to_id(token) for token in {names}])"


def _most(length: str, reading: Reading) -> str:
    """Tokens that a decoder alone is asked for: it has positions for so many, and the last token is never read."""
    return f"min(20, {reading.longest + 1} - {length})" if reading.longest else "20"


def _plus(some: Sequence[object]) -> str:
    return f"{some!r} + " if some else ""


def _page(task: str, program: str, packages: str, lines: Sequence[str], notes: str) -> str:
    code = "\n".join(lines)
    return f"""# {task.replace("_", " ").capitalize()}, for {program}

Written by `pellucid export`; `pellucid.json` is the configuration that it had there. To use it, in this directory, after
`pip install {packages}`:

```python
{code}
```

{notes}
"""
