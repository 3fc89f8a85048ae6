"""Captioning: what does a picture show, in words? An encoder over the squares of a picture, a decoder over the words.

Shapes: B pictures, T target positions, P patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.base.progress import Progress, say
from pellucid.data.picture_splits import chosen
from pellucid.data.pictures import Pictures
from pellucid.decoding.hypothesis import NothingToChooseError
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.framing import end_of, start_of, unwritable
from pellucid.tasks.loaded import Scores
from pellucid.tasks.model_card import card
from pellucid.tasks.model_directory import run_tokenizer, save_model
from pellucid.tasks.on_pictures import ROWS, Indices, OnPictures, PictureSource, ReadsPictures, in_order, many, stacked
from pellucid.tasks.output import Output, one_line
from pellucid.tasks.pairs import PairBatch, mean_loss, pair_loss, with_targets
from pellucid.tasks.request import Asked, Request, request_of
from pellucid.tasks.writing import Writer, agreeing, drawn_often
from pellucid.text.metrics import bleu
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

N_SAMPLES = 4


class Captioning(OnPictures):
    """The training side: implements :class:`pellucid.training.protocol.Task`. A picture with several
    captions is several examples.

    Args:
        config: of the run; vocabulary sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: pictures are missing, damaged or of another size, or a caption is too long and ``data.on_long`` is "error".
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        super().__init__(config, directory)
        self.tokenizer = run_tokenizer(config, directory / "data", self.texts["train"])
        size = self.tokenizer.vocabulary_size
        self.config = replace(config, model=replace(config.model, source_vocabulary=size, target_vocabulary=size))
        self.ids = {name: self._encode(name) for name in self.texts}

    def _encode(self, name: str) -> list[list[int]]:
        """The captions of a split as tokens, the end token last; those that are too long are treated as the recipe says."""
        data, end = self.config.data, end_of(self.tokenizer)
        longest = min(data.max_length, self.config.model.max_length - 1)
        ids = self.tokenizer.encode_batch(self.texts[name])
        long = [number for number, row in enumerate(ids) if len(row) > longest]
        if long and data.on_long == "error":
            where, found = f"{name}: caption {long[0] + 1}", f"{len(ids[long[0]])} tokens"
            advice = "raise data.max_length and model.max_length, or set data.on_long to skip or crop"
            raise DataError("a caption is too long", where=where, expected=f"at most {longest}", found=found, advice=advice)
        if long:
            done = "skipped" if data.on_long == "skip" else "cropped"
            say(f"{name}: {len(long):,} x a caption of more than {longest} tokens, {done} (first: {long[0] + 1})")
        if data.on_long == "skip" and long:
            kept = np.array([number for number, row in enumerate(ids) if len(row) <= longest], dtype=np.int64)
            if not len(kept):
                raise DataError(f"no caption left in the split {name}", expected=f"some of at most {longest} tokens")
            self.pictures[name] = chosen(self.pictures[name], kept)
            self.texts[name] = [self.texts[name][number] for number in kept.tolist()]
            ids = [ids[number] for number in kept.tolist()]
        return [[*row[:longest], end] for row in ids]

    def worst(self) -> Indices:
        """As many examples as a batch has, those of the longest captions."""
        lengths = np.array([len(row) for row in self.ids["train"]])
        return np.argsort(-lengths, kind="stable")[: len(super().worst())]

    def batch(self, examples: Indices, split: str = "train") -> PairBatch:
        """The tensors of some pictures with their captions.

        Of the words that the decoder reads while training, ``corruption.drop`` are made unknown (Bowman et al., "Generating
        Sentences from a Continuous Space", 2016, section 3.1): words that it cannot lean on it has to look up in the picture.
        """
        ids = [self.ids[split][int(index)] for index in examples]
        found = with_targets(self.pixels(examples, split), None, ids, self.tokenizer)
        drop, unknown = self.config.corruption.drop, self.tokenizer.unknown
        if split != "train" or not drop or unknown is None:
            return found
        dropped = torch.rand(found.target_input.shape) < drop
        dropped[:, 0] = False  # the start
        return replace(found, target_input=found.target_input.masked_fill(dropped & found.wanted, unknown))

    def count(self, batch: PairBatch) -> int:
        """Real target tokens, end tokens included."""
        return len(batch.target_output)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        """Smoothed cross-entropy, summed over the real target tokens."""
        return pair_loss(model, batch, self.config.training.label_smoothing)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss per token of the dev split, scores of greedy captions, and a few of these to read."""
        assert isinstance(model, EncoderDecoder)
        texts, scored = self.texts["dev"], self.config.training.validate_sentences
        metrics = {"loss": mean_loss(model, (self.batch(some, "dev") for some in in_order(len(texts))), stopped, ranks)}
        some = np.arange(min(max(scored, N_SAMPLES), len(texts)))
        captioner = Captioner(model, self.config, self.preprocessor, self.tokenizer)
        written = []
        for rows in ranks.mine(in_order(len(some))):
            if stopped():
                break
            written.append(captioner.caption(stacked(self.pictures["dev"], rows), beams=1, temperature=0.0))
        outputs = [caption for captions in ranks.joined(written) for caption in captions]
        if len(outputs) < len(some):
            return Validation(metrics, [])
        if scored:
            metrics |= scores(outputs[:scored], texts[: min(scored, len(outputs))], self.config)
        self.dev_scores = metrics
        samples = [
            f"picture {number} -> {output}  (caption: {text})"
            for number, output, text in zip(range(N_SAMPLES), outputs, texts, strict=False)
        ]
        return Validation(metrics, samples)

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write a model directory, with the scores of the last validation on its card."""
        n_parameters = sum(weight.numel() for weight in weights.values())
        self.preprocessor.save(directory)
        text = card(self.config, n_parameters, self.dev_scores)
        save_model(directory, self.config, (self.tokenizer, self.tokenizer), weights, text)


def scores(outputs: Sequence[str], captions: Sequence[str], config: RunConfig) -> dict[str, float]:
    """Share of outputs that are the caption letter by letter, in percent; BLEU, unless every caption is a single word.

    Where the model folds case, case does not count.
    """
    folded = config.text.lowercase
    pairs = zip(outputs, captions, strict=True)
    same = [output.lower() == caption.lower() if folded else output == caption for output, caption in pairs]
    found = {"exact": 100 * float(np.mean(same))}
    if config.metric == "bleu" or any(len(caption.split()) > 1 for caption in captions):
        found["bleu"] = bleu(outputs, captions, lowercase=folded).score
    return found


class Captioner(ReadsPictures[EncoderDecoder]):
    """The using side: what ``pellucid.load`` returns for a model that captions pictures."""

    searches = True

    def caption(
        self, pictures: PictureSource | Sequence[PictureSource], request: Request | None = None, **options: Any
    ) -> list[str]:
        """The caption of each picture, of at most ``decoding.max_extra`` tokens: a picture has no length of its own to add to.

        Args:
            pictures: one or several: files, or arrays uint8 (H, W), (H, W, C) or (C, H, W) of the model's size.
            request, options: how, see :class:`pellucid.tasks.request.Request`: its fields by name, as ``beams=5``; one caption
                a picture, by this model alone. A picture gets the same caption alone and among others.

        Raises:
            DataError: a picture is missing, damaged, or an array of another size.
            UsageError: what is asked for is out of range or contradicts itself.
        """
        writer = self._writer(request_of(request, options))
        given = many(pictures)
        parts = (given[first : first + ROWS] for first in range(0, len(given), ROWS))
        return [text for part in parts for text in self._captions(self.read(part), writer)]

    def _writer(self, request: Request) -> Writer:
        request.refuse("ensemble", "draft", "scores", "align", by="a model that captions pictures")
        if request.n_best > 1 or any(term.source is not None for term in request.terms):
            what, expected = "a picture has one caption and no words of its own", "n_best 1, and phrases for a glossary"
            raise UsageError(what, expected=expected)
        tokenizer = self.tokenizer
        return Writer(self, request, tokenizer=tokenizer, end=end_of(tokenizer), never=unwritable(tokenizer))

    def _captions(self, pictures: npt.NDArray[np.uint8], writer: Writer) -> list[str]:
        """Of pictures (B, C, H, W) brought to the model's size."""
        model, asks = self.config.model, writer.request
        some = drawn_often([(number, writer.wanted(Asked(""))) for number in range(len(pictures))], asks.samples)
        pixels = self._numbers(pictures)[[number for number, _ in some]]
        tokens = writer.config.max_extra if asks.tokens is None else asks.tokens
        try:
            found = writer.write(
                pixels,
                torch.ones(len(pixels), model.picture.n_patches, dtype=torch.bool),
                [wanted for _, wanted in some],
                start=start_of(self.tokenizer),
                limits=torch.full((len(pixels),), min(tokens, model.max_length)),
            )
        except NothingToChooseError as error:
            where = f"picture {some[error.sentence][0] + 1} of its batch"
            raise ModelError(error.what, where=where, found=error.found, advice=error.advice) from error
        outputs = [[Output(one_line(self.tokenizer.decode(best.ids)), best.score, best.reason)] for [best] in found]
        return [best.text for [best] in agreeing(outputs, asks.samples, asks.utility)]

    def evaluate_split(self, name: str, beams: int | None = None) -> Scores:
        """Score the model on a split of the corpus that it was trained on."""
        return self.evaluate(*self.open_split(name), beams=beams)

    def evaluate(self, pictures: Pictures, captions: Sequence[str], *, beams: int | None = None) -> Scores:
        """Score the model on pictures and their captions, each caption by itself.

        Returns:
            ``exact`` and ``bleu`` in percent (see :func:`scores`), ``loss`` per token in nats, and ``loss_other_picture``: the
            same for the same captions, each beside the next other picture. A model that does not look has both alike.
        """
        writer = self._writer(Request(beams=beams))
        outputs: list[str] = []
        with Progress(len(captions), "pictures", "captioning") as bar:
            for some in in_order(len(captions)):
                outputs += self._captions(stacked(pictures, some), writer)
                bar.update(len(some))
        own = np.arange(len(captions))
        values = scores(outputs, captions, self.config)
        values["loss"] = self._loss(pictures, own, captions)
        values["loss_other_picture"] = self._loss(pictures, others(pictures), captions)
        return Scores(values, outputs, len(captions))

    def _loss(self, pictures: Pictures, beside: npt.NDArray[np.int64], captions: Sequence[str]) -> float:
        """Loss per token of the captions, the n-th one read beside the picture ``beside[n]``."""
        ids, end = self.tokenizer.encode_batch(list(captions)), end_of(self.tokenizer)
        longest = self.config.model.max_length - 1

        def batches() -> Iterator[PairBatch]:
            for some in in_order(len(ids)):
                pixels = self._numbers(stacked(pictures, beside[some]))
                captioned = [[*ids[int(index)][:longest], end] for index in some]
                yield with_targets(pixels, None, captioned, self.tokenizer)

        return mean_loss(self.model.eval(), batches())


def others(pictures: Pictures) -> npt.NDArray[np.int64]:
    """For each example the next one that shows another picture, round and round: one picture may have several captions.

    Raises:
        UsageError: all show the same picture.
    """
    count = len(pictures)
    changes = [not np.array_equal(pictures[number], pictures[(number + 1) % count]) for number in range(count)]
    if not any(changes):
        raise UsageError("there is no other picture to compare with", where="the split", found=f"{count} of the same")
    found = np.zeros(count, dtype=np.int64)
    after = 0
    for number in [*range(count - 1, -1, -1)] * 2:  # twice, since the last ones look beyond the end
        after = (number + 1) % count if changes[number] else after
        found[number] = after
    return found
