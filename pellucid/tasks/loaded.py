"""What ``pellucid.load`` returns, whatever the task: a model with its tokenizer and configuration, and its numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.runtime import into_large_pages
from pellucid.model.compiled import Compiled
from pellucid.model.packed import packed
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.labels import Labels
from pellucid.tasks.model_directory import check_vocabularies, load_model, load_tokenizers, read_weights

if TYPE_CHECKING:
    from pellucid.explain.edits import Edit
    from pellucid.explain.trace import Trace

ModelType = TypeVar("ModelType", bound=EncoderDecoder | EncoderOnly | DecoderOnly)


class Loaded(Generic[ModelType]):
    """The using side of a task.

    Args:
        model: with its weights.
        config: of the run that made it.
        tokenizer: of the source; ``None`` where the directory has none: then only :meth:`logits` works.
        labels: names of the classes, where there are any.

    Attributes:
        prepares: whether it writes with its matrices laid out beforehand, see :mod:`pellucid.model.packed`: so when loaded for
            use, and not while it learns.
        searches: whether :meth:`evaluate_split` searches for outputs, and so can be told how many ``beams`` wide.
    """

    searches: ClassVar[bool] = False

    def __init__(
        self, model: ModelType, config: RunConfig, tokenizer: AnyTokenizer | None = None, labels: Labels | None = None
    ) -> None:
        self.model, self.config = model, config
        self._tokenizer, self._labels = tokenizer, labels
        self.prepares = False
        self._compiled: tuple[int, ...] = ()
        self._prepared: tuple[object, Any] = (None, model)  # what it was made from, and the model made for writing

    @classmethod
    def open(cls, directory: Path, config: RunConfig) -> Self:
        """From a model directory whose configuration has been read.

        Raises:
            ModelError: something in it is missing or damaged.
        """
        tokenizers = load_tokenizers(directory, config)
        if tokenizers is not None:
            check_vocabularies(directory, config, tokenizers)
        labels = Labels.load(directory) if (directory / "labels.json").is_file() else None
        model: Any = load_model(directory, config)
        return cls(model, config, None if tokenizers is None else tokenizers[0], labels)

    def to(self, device: str, dtype: torch.dtype) -> Self:
        """Move and convert the weights."""
        self.model.to(device, dtype)
        return self

    def with_weights(self, path: Path) -> Self:
        """The same with the weights of a file, such as a checkpoint's; this one stays as it is.

        Raises:
            ModelError: they are damaged, or of a model of another shape.
        """
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        other.model.load_state_dict(read_weights(path, self.model))
        other._prepared = (None, other.model)
        return other

    def compile(self, *beams: int) -> None:
        """From now on the steps of searches so wide (1: greedy search and drawing) are compiled when they are first needed, or
        found compiled in the user's cache.

        See :class:`pellucid.model.compiled.Compiled`, which says what is raised; a usage error besides where the model is a
        recurrent network.
        """
        cell = self.config.model.recurrent.cell
        if cell != "none":
            what, advice = "steps of a recurrent network are not compiled", "leave out --compile"
            raise UsageError(what, where="--compile", found=cell, advice=advice)
        self._compiled = beams
        self._prepared = (None, self.model)
        if self.device.type == "cpu":
            into_large_pages([*self.model.parameters(), *self.model.buffers()])
        self.writing_model()

    def writing_model(self) -> Any:
        """The model as it writes: ``model`` made ready for steps, anew whenever a weight of it has changed."""
        if not self.prepares and not self._compiled:
            return self.model.eval()
        key = (id(self.model), *((id(weight), weight._version) for weight in self.model.parameters()))
        if key != self._prepared[0]:
            ready: Any = packed(self.model.eval())
            self._prepared = (key, Compiled(ready, self.config.model, self._compiled) if self._compiled else ready)
        return self._prepared[1]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.weight("output").device

    @property
    def tokenizer(self) -> AnyTokenizer:
        """The tokenizer of the source.

        Raises:
            ModelError: the model came without one.
        """
        if self._tokenizer is None:
            advice = "use .logits(ids), or put the tokenizer's files beside the weights"
            raise ModelError("this model has no tokenizer, so it cannot read texts", advice=advice)
        return self._tokenizer

    @property
    def tokenizers(self) -> tuple[AnyTokenizer, ...]:
        """Of source and target, where there are two sides."""
        return (self.tokenizer,)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where they have none."""
        if self._labels is None:
            return tuple(map(str, range(self.config.model.target_vocabulary)))
        return self._labels.names

    @torch.inference_mode()
    def logits(self, ids: Tensor, *, mask: Tensor | None = None, target_ids: Tensor | None = None) -> Tensor:
        """The model's logits as they are.

        Args:
            ids: (B, S) source tokens, or (B, channels, height, width) pixels.
            mask: (B, S) True = real token.
            target_ids: (B, T) target tokens; encoder-decoders need them, others have none.
        """
        mask = None if mask is None else mask.to(self.device)
        model: EncoderDecoder | EncoderOnly | DecoderOnly = self.model.eval()
        ids = ids.to(self.device)
        if isinstance(model, EncoderDecoder):
            if target_ids is None:
                raise ModelError("an encoder-decoder needs target_ids", advice="give what its decoder reads, start token first")
            return model(ids, target_ids.to(self.device), source_mask=mask)
        return model(ids, source_mask=mask) if isinstance(model, EncoderOnly) else model(ids, mask=mask)

    def explain(
        self,
        given: Any,
        *,
        taps: Sequence[str] = ("*",),
        edits: Sequence[Edit] = (),
        output: str | None = None,
        tokens: int | None = None,
        beams: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
        prefix: Sequence[int] = (),
        max_bytes: int = 2**28,
    ) -> Trace:
        """Every number of the model on one text or picture: see :class:`pellucid.explain.trace.Trace`.

        Args:
            given: a text, or where the model reads pictures, a picture.
            taps: globs of the names to keep, as ``["*.weights"]``.
            edits: what to change on the way, see :mod:`pellucid.explain.edits`.
            output: a text that is fed in place of what the model would write.
            tokens: most tokens to write; ``None``: as the recipe says, of a language model 20.
            beams, temperature, top_k, top_p, min_p, seed: as the recipe says, see :class:`pellucid.tasks.request.Request`.
            prefix: ids of the tokens that the output begins with; the search goes on from there.
            max_bytes: of what is kept.

        Raises:
            TraceTooLargeError: ``max_bytes`` is not enough; the error names the largest taps.
            UsageError: a glob or an edit names nothing that is there, or a number is out of range.
        """
        from pellucid.explain.explain import explain
        from pellucid.tasks.explaining import subject_of

        ways = {"beams": beams, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        subject = subject_of(self, given, output=output, tokens=tokens, seed=seed, prefix=prefix, **ways)
        return explain(subject, taps=taps, edits=edits, max_bytes=max_bytes)


@dataclass(frozen=True)
class Scores:
    """What an evaluation found.

    Args:
        values: by name, in the order in which they are shown.
        outputs: the model's answers, one a text, in their order; empty where it gives none.
        count: texts.
    """

    values: dict[str, float]
    outputs: list[str]
    count: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.values, "examples": self.count}

    def shown(self) -> list[tuple[str, str]]:
        """Name and value of each score, to be printed."""
        rows = [(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}") for name, value in self.values.items()]
        return [*rows, ("examples", f"{self.count:,}")]
