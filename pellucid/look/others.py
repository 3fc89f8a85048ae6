"""What the page sets beside its model: the checkpoints of its run, a second model, other texts; and its training step.

The model that answers keeps its weights: a checkpoint is loaded into a model of its own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.base.errors import UsageError
from pellucid.base.files import verify_directory
from pellucid.explain.explain import explain
from pellucid.explain.step_told import as_tree
from pellucid.explain.training_step import losses_of, target_of
from pellucid.look.desk import Desk, ways
from pellucid.tasks.opened import open_step
from pellucid.tasks.wanted import Wanted, given_output, names_of, own_output
from pellucid.training.checkpoints import kept_weights

MODELS = 3  # checkpoints whose models are kept
TAPS = ("*.weights", "logits", "probs")  # of what is set beside the model
ITSELF, SECOND = "model", "second"

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Others:
    """Answers the views "training" and "compare".

    Args:
        desk: with the model.
        path: that it was opened from: of a run, or of a model alone.
        second: a second model, loaded; ``name``: how it is called.
    """

    def __init__(self, desk: Desk, path: Path | None = None, second: Any = None, name: str = "") -> None:
        self.desk, self.path, self.second, self.name = desk, path, second, name
        self._models: OrderedDict[int, Any] = OrderedDict()
        self._wanted: tuple[Any, Wanted] | None = None

    @property
    def answers(self) -> dict[str, Answer]:
        """Path to method."""
        return {
            "/api/others": self.others,
            "/api/other": self.other,
            "/api/checkpoint": self.checkpoint,
            "/api/difference": self.difference,
            "/api/training-step": self.training_step,
        }

    def others(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What there is: ``checkpoints`` by their steps, those with the state of Adam (``moments``), ``steps`` of the run,
        why there are no checkpoints (``reason``), and the name of the ``second`` model."""
        found, reason = self._kept()
        steps = self.desk.loaded.config.training.steps
        told = {"checkpoints": list(found), "moments": self._moments(), "steps": steps}
        return {**told, "reason": reason, "second": self.name or None}

    def other(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """A trace of attention weights and probabilities, without its numbers, and the ``id`` to ask for these.

        Args:
            question: ``of``: ``"model"``, ``"second"`` or the step of a checkpoint; and as for :meth:`Desk.trace`.
        """
        asked = dict(question)
        with self.desk.lock:
            loaded = self._loaded(asked.pop("of", ITSELF))
            return self.desk.keep(loaded.explain(asked.get("text", ""), taps=TAPS, **ways(asked)))

    def checkpoint(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint says of a text, and how probable it finds what is wanted: a reference, or what the model says.

        Args:
            question: ``step``: of the checkpoint, or ``"model"``; ``reference``: a text, a class or tags; ``trace``: any
                text, if the trace is wanted, too; and as for :meth:`Desk.trace`.

        Returns:
            ``output``, and of each predicted position ``fed``, ``wanted``, ``probabilities`` and ``losses`` (nats, without
            smoothing); ``loss``, their mean; ``trace``.
        """
        asked = dict(question)
        step, reference, traced = asked.pop("step", ITSELF), asked.pop("reference", None), asked.pop("trace", None)
        with self.desk.lock:
            subject, wanted = self._example(asked, reference)
            subject = replace(subject, model=self._loaded(step).model)
            with torch.inference_mode():
                losses = losses_of(subject.model, target_of(subject, wanted), 0.0, None)[0].double().tolist()
            fed, names = names_of(subject, wanted)
            free = subject if subject.writing is None else replace(subject, writing=replace(subject.writing, given=None))
            found = {
                "step": step,
                "output": explain(free, taps=["logits"]).output,
                "fed": fed,
                "wanted": names,
                "losses": losses,
                "probabilities": [math.exp(-loss) for loss in losses],
                "loss": sum(losses) / len(losses),
            }
            return found | ({"trace": self.desk.keep(explain(subject, taps=TAPS))} if traced else {})

    def difference(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What changed from the trace ``first`` to the trace ``second`` of the same input; an infinite divergence is ``None``.

        Raises:
            UsageError: they are not of the same input, or of different outputs.
        """
        first, second = (self.desk.kept(str(question.get(which, ""))) for which in ("first", "second"))
        if first.vocabulary != second.vocabulary:
            raise UsageError("the models have different outputs", expected=len(first.vocabulary), found=len(second.vocabulary))
        found = second.diff(first)
        positions = [
            {
                "name": one.name,
                "kl": one.kl if math.isfinite(one.kl) else None,
                "changes": [vars(change) for change in one.changes],
            }
            for one in found.positions
        ]
        largest = float(np.abs(found.probabilities).max()) if found.probabilities.size else 0.0
        texts = {"before": found.before, "after": found.after, "changed": found.output_changed}
        return {"positions": positions, "largest": largest, **texts}

    def training_step(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The step that training would take next, see :func:`pellucid.explain.step_told.as_tree`.

        Args:
            question: ``text`` and ``output``; without them the first example of the training data. ``after``: the checkpoint's
                step; empty: the model's weights as they are, and Adam beginning anew.

        Raises:
            UsageError: there is no such checkpoint, or no such example.
        """
        given, output = (question.get(key) or None for key in ("text", "output"))
        after, kept = question.get("after") or None, self._moments()
        if after is not None and after not in map(str, kept):
            raise UsageError("this checkpoint has no state of Adam", expected=", ".join(map(str, kept)) or None, found=after)
        with self.desk.lock:
            return as_tree(open_step(self.desk.loaded, self.path if after else None, given, output, int(after or 0) or None))

    def _example(self, asked: Mapping[str, Any], reference: str | None) -> Wanted:
        """What is read and what is wanted of it; the last answer is kept, since every checkpoint is asked for the same."""
        key = (dict(asked), reference)
        if self._wanted is None or self._wanted[0] != key:
            loaded, text = self.desk.loaded, asked.get("text", "")
            options = {"output": None, "tokens": None, "seed": 0} | ways(asked)
            found = own_output(loaded, text, **options) if reference is None else given_output(loaded, text, reference)
            self._wanted = (key, found)
        return self._wanted[1]

    def _moments(self) -> list[int]:
        """The checkpoints that a step can be taken after."""
        found, _ = self._kept()
        return [step for step, path in found.items() if path.parent.name.startswith("step-")]

    def _kept(self) -> tuple[dict[int, Path], str | None]:
        """The checkpoints, and why there are none."""
        if self.path is None or not (self.path / "checkpoints").is_dir():
            return {}, "this is a model without its run: give the directory of the run, not of the model"
        if self.desk.loaded.config.start.lora_rank:
            return {}, "the checkpoints of this run hold adapters beside the weights, which are not looked at here"
        found = kept_weights(self.path)
        return found, None if found else "this run has kept no checkpoint"

    def _loaded(self, which: str) -> Any:
        """The model itself, the second one, or that of a checkpoint.

        Raises:
            UsageError: there is no such model.
            ModelError: the checkpoint is damaged.
        """
        if which == ITSELF:
            return self.desk.loaded
        if which == SECOND and self.second is not None:
            return self.second
        kept, reason = self._kept()
        step = int(which) if which.isdecimal() else -1
        if step not in kept:
            expected = reason or ", ".join(map(str, (ITSELF, *kept)))
            raise UsageError("there is no such model or checkpoint", expected=expected, found=which)
        if step not in self._models:
            if kept[step].parent.name.startswith("step-"):
                verify_directory(kept[step].parent)
            self._models[step] = self.desk.loaded.with_weights(kept[step])
            while len(self._models) > MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(step)
        return self._models[step]
