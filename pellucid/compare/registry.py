"""The experiments by name. Nothing heavy is imported before one of them is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pellucid.base.errors import UsageError

if TYPE_CHECKING:
    from pellucid.compare.experiment import Experiment


@dataclass(frozen=True)
class Listed:
    """An experiment in the list.

    Args:
        line: the question in a few words.
        quick, full: minutes that it takes on one core.
    """

    line: str
    quick: int
    full: int


LIST = {
    "distance": Listed(
        "Is a symbol forgotten on its way through a recurrent network, and seen by attention at any distance?", 3, 40
    ),
    "speed": Listed("Is a recurrent network slower to train than attention of equal size?", 2, 20),
    "gradients": Listed("Does the gradient fade with distance in recurrent networks, and not in attention?", 1, 3),
    "cost": Listed("What does a Transformer cost at equal width, and what at equal quality?", 3, 40),
    "scaling": Listed("Do operations, waiting steps and paths grow with length and width as Table 1 of the paper says?", 1, 1),
    "order": Listed("Is word order lost without positions, and which scheme brings it back?", 4, 40),
    "positions": Listed(
        "Positions once or at every layer, which base, and layers with weights of their own or shared: does it matter?", 7, 50
    ),
    "additive": Listed("What does the scale of the dot product do, and what does additive attention cost?", 3, 30),
    "heads": Listed("Do several heads do better than one of the same size, and look at different things?", 3, 30),
    "variations": Listed("Do heads, widths, depth, dropout and positions matter as in Table 3 of the paper?", 4, 50),
    "roles": Listed("Does each role in attention need weights of its own, and the heads something that mixes them?", 6, 45),
    "mask": Listed("What does a model learn that may look ahead, and what does it then write?", 1, 15),
    "residual": Listed("What becomes of deep stacks without residual connections, and without norms?", 4, 50),
    "counting": Listed("Do recurrent networks still win where counting is asked for?", 2, 30),
    "steps": Listed("Does a Transformer need fewer steps of training than an LSTM with attention, and less time?", 6, 40),
    "data_sizes": Listed("Which of the two learns more from few sentence pairs, and which from many?", 13, 60),
    "programs": Listed("Can one Transformer copy, reverse, sort and add?", 2, 30),
    "words": Listed("Do similar words end up close to each other?", 1, 15),
    "contextual": Listed("Does the same word have other vectors in another sentence, layer by layer?", 1, 10),
    "overthinking": Listed("What would each layer answer, and are right answers left behind on the way?", 1, 30),
    "probes": Listed("Can more be read from a Transformer's states than from a recurrent network's?", 2, 35),
    "depths": Listed("May the decoder read the encoder at different depths?", 2, 40),
    "norms": Listed("Does a deep stack train without normalisation, and does it matter which one it has?", 2, 40),
}


def experiment(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in LIST:
        near = difflib.get_close_matches(name, LIST, n=1)
        advice = f"did you mean {near[0]}?" if near else "`pellucid compare` lists them"
        raise UsageError("no such experiment", expected="one of " + ", ".join(LIST), found=name, advice=advice)
    found: Experiment = import_module(f"pellucid.compare.experiments.{name}").EXPERIMENT
    return found
