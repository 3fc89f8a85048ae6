"""A small GPT, one masked step after another: ``python -m benchmarks.studies.gpt_in_depth``.

What a reader of "The Illustrated GPT-2" (Alammar, 2019) has seen in pictures, in the numbers of a model of characters:
embeddings and positions, masked self-attention, the cache, logits, top-k, the draw, and what each layer would say.

Shapes: N layers, H heads, T positions, K width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pellucid
from benchmarks.studies import gpt_in_depth_page, pictures, report, runs
from benchmarks.studies.gpt_in_depth_page import (
    HEAD,
    LAYER,
    PROMPT,
    SEED,
    TEMPERATURE,
    TOKENS,
    TOP_K,
    WINDOWS,
    Step,
    kept,
    seen,
)
from pellucid.decoding.filters import filtered
from pellucid.decoding.sampling import draw, uniform
from pellucid.explain.trace import Trace
from pellucid.model.transformer import Prompt
from pellucid.tasks.pixels import open_texts


@torch.inference_mode()
def written(model: Any, prompt: Sequence[int], config: Any, never: Sequence[int], tokens: int) -> tuple[list[Step], Any]:
    """Token after token, by the contract alone: `start` reads the prompt but its last token, each `step` reads one more.

    Returns:
        The steps, and the state that they leave.
    """
    state = model.eval().start(Prompt(torch.tensor([prompt[:-1]]), None))
    read, steps = prompt[-1], []
    for number in range(tokens):
        logits, state = model.step(torch.tensor([[read]]), state)
        values = torch.log_softmax(logits[:, -1], -1)  # (1, V)
        values[:, list(never)] = -torch.inf
        some = filtered(values, config)
        random = uniform(SEED, number)
        chosen = int(draw(some, torch.tensor([random], dtype=torch.float64)))
        steps.append(Step(read, state.length, logits[0, -1], some[0].softmax(0), random, chosen))
        read = chosen
    return steps, state


@torch.inference_mode()
def lens(model: Any, vectors: Tensor) -> Tensor:
    """What a layer would say were it the last: ``softmax(norm(x) E^T)``, with the final norm and output matrix (the logit lens,
    nostalgebraist 2020). (..., D) -> probabilities (..., V)."""
    return model.head(model.decoder.norm(vectors), model.weight("output")).softmax(-1)


@torch.inference_mode()
def losses(model: Any, windows: Tensor) -> list[float]:
    """The loss of each layer's reading on windows of text (B, T + 1), nats a token: embedded, after each layer."""
    found: dict[str, float] = {}

    def tap(name: str, tensor: Tensor) -> Tensor:
        if name == "decoder.embed.out" or (
            name.startswith("decoder.layers.") and name.count(".") == 3 and name.endswith(".out")
        ):
            right = lens(model, tensor).gather(2, windows[:, 1:, None])
            found[name] = -right.double().log().mean().item()
        return tensor

    model.eval()(windows[:, :-1], tap=tap)
    return list(found.values())


def held_out(loaded: Any) -> Tensor:
    """Windows of the dev split, (B, T + 1)."""
    ids = loaded.tokenizer.encode("".join(text for (text,) in open_texts(loaded.config, "dev")))
    width = loaded.context + 1
    count = min(WINDOWS, len(ids) // width)
    return torch.tensor(ids[: count * width]).view(count, width)


def main() -> None:
    given = runs.arguments("gpt_in_depth", __doc__, "shakespeare-char", (1,))
    loaded = pellucid.load(given.runs[0])
    config = replace(loaded.config.decoding, temperature=TEMPERATURE, top_k=TOP_K)
    prompt = loaded.tokenizer.encode(PROMPT)
    steps, state = written(loaded.model, prompt, config, loaded.never, TOKENS)
    trace = loaded.explain(PROMPT, tokens=TOKENS, temperature=TEMPERATURE, top_k=TOP_K, seed=SEED)
    generated = loaded.generate(PROMPT, tokens=TOKENS, temperature=TEMPERATURE, top_k=TOP_K, seed=SEED)[0]
    text = loaded.tokenizer.decode([step.chosen for step in steps])
    names = loaded.tokenizer.tokens
    checks = equalities(loaded, trace, steps, state, len(prompt))
    checks["the same text"] = text == trace.output == generated[len(PROMPT) :]
    reads = readings(loaded, trace, len(prompt))
    by_layer = losses(loaded.model, held_out(loaded))
    attention_picture(given.out, trace, len(prompt))
    lens_picture(given.out, trace, reads, len(prompt))
    figures = {
        "model": runs.about(loaded),
        "prompt": PROMPT,
        "written": text,
        "steps": [
            {
                "read": names([step.read])[0],
                "cache": step.length,
                "kept": {names([i])[0]: round(step.left[i].item(), 4) for i in kept(step)},
                "uniform": step.uniform,
                "chosen": names([step.chosen])[0],
            }
            for step in steps
        ],
        "equalities": checks,
        "loss of each layer": by_layer,
        "readings": [[[name, round(share, 4)] for name, share in row] for row in reads],
    }
    report.write(given.out, "gpt_in_depth", gpt_in_depth_page.values(loaded, trace, steps, figures), figures)


def equalities(loaded: Any, trace: Trace, steps: Sequence[Step], state: Any, begun: int) -> dict[str, Any]:
    """What should be the same, computed two ways; the largest differences."""
    rows = np.asarray(trace["logits"])[begun - 1 :]  # (TOKENS, V)
    by_step = torch.stack([step.logits for step in steps]).numpy()
    keys = [np.asarray(trace[f"decoder.layers.{n}.self_attn.k"]) for n in range(len(state.caches))]
    caches = [cache.stored()[0][0].numpy() for cache in state.caches]
    ids = trace.inputs["target"]
    changed = np.array(ids)
    changed[-1] = (changed[-1] + 1) % loaded.config.model.target_vocabulary
    before, after = (loaded.logits(torch.tensor(some)[None])[0, :-1] for some in (ids, changed))
    return {
        "logits, step against row": float(np.abs(rows - by_step).max()),
        "largest logit": float(np.abs(rows).max()),
        "keys, cache against forward": max(float(np.abs(one - other).max()) for one, other in zip(keys, caches, strict=True)),
        "rows before a changed last token": float((before - after).abs().max()),
        "float64 check": str(trace.check()).splitlines()[0],
    }


def readings(loaded: Any, trace: Trace, begun: int) -> list[list[tuple[str, float]]]:
    """For each new position, what each layer would say: its most probable token and that one's probability."""
    n_layers = loaded.config.model.decoder.n_layers
    names = ["decoder.embed.out", *(f"decoder.layers.{layer}.out" for layer in range(n_layers))]
    probs = [lens(loaded.model, torch.from_numpy(np.asarray(trace[name])[begun - 1 :])) for name in names]  # (TOKENS, V) each
    return [
        [(loaded.tokenizer.tokens([int(layer[row].argmax())])[0], float(layer[row].max())) for layer in probs]
        for row in range(len(probs[0]))
    ]


def attention_picture(out: Any, trace: Trace, begun: int) -> None:
    """Scores, masked scores and weights of one head, and the weights of the others, over the prompt."""
    place = f"decoder.layers.{LAYER}.self_attn"
    scaled, masked, weights = (
        np.array(trace[f"{place}.{name}"])[:, :begun, :begun] for name in ("scaled", "masked", "weights")
    )
    masked[~np.isfinite(masked)] = np.nan
    labels = [seen(name) for name in trace.names["target"][:begun]]
    high = float(np.abs(scaled[HEAD]).max())
    first = {"q k / sqrt(d_head)": scaled[HEAD], "the future masked": masked[HEAD]}
    common: dict[str, Any] = {"form": "", "sides": ("asks", "is asked"), "cell": (0.36, 0.33)}
    file, colours = out / "gpt_in_depth-scores.svg", "RdBu_r"
    pictures.maps(file, first, labels, labels, label="score", low=-high, high=high, colours=colours, **common)
    every = {f"layer {LAYER}, head {head}": 100 * weights[head] for head in range(len(weights))}
    pictures.maps(out / "gpt_in_depth-weights.svg", every, labels, labels, label="weight, %", high=100.0, across=2, **common)


def lens_picture(out: Any, trace: Trace, reads: Sequence[Sequence[tuple[str, float]]], begun: int) -> None:
    """The most probable character of each layer at each new position; the darker the surer."""
    shares = np.array([[share for _, share in row] for row in reads]).T  # (N + 1, TOKENS)
    texts = [[seen(name) for name, _ in row] for row in reads]
    read = trace.names["target"][begun - 1 :]
    rows = ["embedded", *(f"layer {layer}" for layer in range(len(shares) - 1))]
    columns = [seen(name) for name in read]
    pictures.maps(
        out / "gpt_in_depth-lens.svg", {"": 100 * shares[::-1]}, rows[::-1], columns, label="probability, %", high=100.0,
        texts=[list(row) for row in zip(*texts, strict=True)][::-1], sides=("", "character read"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
