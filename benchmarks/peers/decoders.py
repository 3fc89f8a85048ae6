"""One engine decodes: ``python -m benchmarks.peers.decoders ENGINE SIZE FOLDER PRECISION COMPILED WORKERS THREADS``.

``make SIZE FOLDER`` writes the weights first, for all of them: a Marian or GPT-2 of ``transformers``, with random weights,
scaled so that the best token is ahead of the next by far more than rounding; imported by ours; and from ours for CTranslate2.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contender import END, PAD, SIZES, START

UNKNOWN = 1
VOCABULARIES = {"tiny": 10_000, "small": 8_000, "base": 32_000, "gpt": 65}
LONGEST = 512  # positions
SOURCE, NEW, NEW_GPT = 20, 30, 256
SECONDS = 1.0  # of each case, at least, after a warm-up
TURNS = 15  # of those that are timed against memory

Decode = Callable[[list[list[int]], int], list[list[int]]]  # sources and beams -> outputs


def cases(size: str) -> list[tuple[str, int, int]]:
    """Name, beams, and sentences at a time."""
    if size == "gpt":
        return [("greedy 1", 1, 1)]
    return [(f"{'greedy' if beams == 1 else f'beam {beams}'} {rows}", beams, rows) for beams in (1, 5) for rows in (1, 32)]


def make(size: str, folder: Path) -> None:
    """Write ``theirs``, ``ours``, ``ct2-float32`` and ``ct2-int8`` into the folder, and the sources."""
    import torch

    import pellucid
    from pellucid.exchange.to_ctranslate2 import Names, save, specification
    from pellucid.tasks.imports import import_model

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    (gpt() if size == "gpt" else marian(size)).save_pretrained(folder / "theirs")
    import_model(folder / "theirs", folder / "ours")
    loaded = pellucid.load(folder / "ours", device="cpu")
    vocabulary = VOCABULARIES[size]
    tokens = [f"t{number}" for number in range(vocabulary)]
    names = Names(tokens, tokens, unknown=tokens[UNKNOWN], start=tokens[START], end=tokens[END])
    for precision in ("float32", "int8"):
        (folder / f"ct2-{precision}").mkdir()
        save(specification(loaded.model, loaded.config.model, names, precision), folder / f"ct2-{precision}")
    sources = torch.randint(4, vocabulary, (64, SOURCE)).tolist()
    (folder / "sources.json").write_text(json.dumps(sources), encoding="utf-8")


def gpt() -> Any:
    """A GPT-2 of the larger of the shapes that training is measured with."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from benchmarks.gpt import SETTINGS

    shape = SETTINGS["large"]
    sizes = {"n_embd": shape.d_model, "n_head": shape.n_heads, "n_layer": shape.n_layers, "n_positions": LONGEST}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARIES["gpt"], bos_token_id=START, eos_token_id=END, **sizes))
    scale(model, model.transformer.ln_f)
    return model


def marian(size: str) -> Any:
    """A Marian of a shape that training is measured with, which never writes a control token."""
    from transformers import MarianMTModel

    from benchmarks.peers.marian import configuration

    config = configuration(SIZES[size], LONGEST)
    config.vocab_size = config.decoder_vocab_size = VOCABULARIES[size]
    config.use_cache, config.forced_eos_token_id = True, None
    model = MarianMTModel(config)
    scale(model, model.model.decoder.layers[-1].final_layer_norm)
    model.final_logits_bias[:, [PAD, UNKNOWN, START, END]] = -1e4
    return model


def scale(model: Any, last: Any) -> None:
    """Random weights with which the logits lie far apart: their standard deviation is 4, which the ``last`` norm gives them.

    Embeddings and output are tied, so that the token that was read would be the best one again and again: the last norm turns
    the sign of every other number, with which it is like any other token.
    """
    import torch

    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embed_positions" not in name:
                gain = 0.3 if "encoder_attn.out_proj" in name else 1.0
                deviation = 2 * weight.shape[1] ** -0.5 if weight is embedding else gain * (2 / sum(weight.shape)) ** 0.5
                torch.nn.init.normal_(weight, std=deviation)
        last.weight.fill_(2.0)
        last.weight[::2] = -2.0


def ours(size: str, folder: Path, precision: str, *, compiled: bool, threads: int) -> Decode:
    """Our search, on tensors."""
    return writes(stepper(size, folder, precision, compiled=compiled, threads=threads), size, NEW_GPT if size == "gpt" else NEW)


def stepper(size: str, folder: Path, precision: str, *, compiled: bool, threads: int) -> Any:
    """Our model, ready for steps."""
    import torch

    import pellucid
    from pellucid.base.runtime import keep_memory

    torch.set_num_threads(threads)
    keep_memory()
    loaded = pellucid.load(folder / "ours", precision, device="cpu")
    if compiled:
        loaded.compile(*((1,) if size == "gpt" else (1, 5)))
    return loaded.writing_model()


def writes(model: Any, size: str, new: int) -> Decode:
    """Our search for so many new tokens."""
    import torch

    from pellucid.base.config import DecodingConfig
    from pellucid.decoding.search import search

    def decode(sources: list[list[int]], beams: int) -> list[list[int]]:
        config = DecodingConfig(beams=beams, length_penalty="none")
        source = torch.tensor([one[:0] if size == "gpt" else one for one in sources], dtype=torch.int64)
        start = torch.tensor([one[0] if size == "gpt" else START for one in sources])
        limits = torch.full((len(sources),), new)
        mask = torch.ones_like(source, dtype=torch.bool)
        found = search(model, source, mask, config, start=start, end=None, limits=limits, forbidden=(END,))
        return [list(best.ids) for best, *_ in found]

    return decode


def transformers(size: str, folder: Path, precision: str, *, threads: int) -> Decode:
    """``generate``, as its users call it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.set_num_threads(threads)
    kind = AutoModelForCausalLM if size == "gpt" else AutoModelForSeq2SeqLM
    model = kind.from_pretrained(folder / "theirs", dtype=getattr(torch, precision)).eval()
    new = NEW_GPT if size == "gpt" else NEW

    def decode(sources: list[list[int]], beams: int) -> list[list[int]]:
        source = torch.tensor([one[:1] if size == "gpt" else one for one in sources])
        given = {"num_beams": beams, "do_sample": False, "max_new_tokens": new, "min_new_tokens": new, "length_penalty": 0.0}
        with torch.inference_mode():
            found = model.generate(source, attention_mask=torch.ones_like(source), pad_token_id=PAD, **given)
        written: list[list[int]] = found[:, -new:].tolist()
        return written

    return decode


def ctranslate2(size: str, folder: Path, precision: str, *, threads: int, workers: int) -> Decode:
    """Its own engine, on the tokens' names."""
    import ctranslate2 as engine

    place = str(folder / f"ct2-{precision}")
    given = {"device": "cpu", "compute_type": precision, "inter_threads": workers, "intra_threads": threads}
    if size == "gpt":
        generator = engine.Generator(place, **given)

        def go_on(sources: list[list[int]], beams: int) -> list[list[int]]:
            prompts = [[f"t{one[0]}"] for one in sources]
            lengths = {"max_length": NEW_GPT, "min_length": NEW_GPT, "include_prompt_in_result": False}
            found = generator.generate_batch(prompts, beam_size=beams, end_token=f"t{END}", **lengths)
            return [one.sequences_ids[0] for one in found]

        return go_on
    translator = engine.Translator(place, **given)

    def decode(sources: list[list[int]], beams: int) -> list[list[int]]:
        named = [[f"t{token}" for token in one] for one in sources]
        lengths = {"max_decoding_length": NEW, "min_decoding_length": NEW, "length_penalty": 0.0}
        batch = 0 if workers == 1 else -(-len(named) // workers)
        found = translator.translate_batch(named, beam_size=beams, max_batch_size=batch, **lengths)
        return [[int(token[1:]) for token in one.hypotheses[0]] for one in found]

    return decode


def measure(decode: Decode, size: str, folder: Path, together: int | None = None) -> dict[str, Any]:
    """Tokens a second and outputs of each case."""
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    new = NEW_GPT if size == "gpt" else NEW
    found = {}
    for name, beams, rows in cases(size):
        if together is not None and (rows == 1 or beams > 1):
            continue
        some = sources[: together or rows]
        ids = decode(some, beams)  # the warm-up
        decode(some, beams)
        seconds: list[float] = []
        while sum(seconds) < SECONDS or len(seconds) < 3:
            began = time.perf_counter()
            decode(some, beams)
            seconds.append(time.perf_counter() - began)
        found[name] = {"speed": len(some) * new / statistics.median(seconds), "ids": ids}
    return found


def against_memory(size: str, folder: Path, threads: int) -> dict[str, Any]:
    """Steps a second of greedy search, compiled, in float32, and as many as there would be if nothing but reading the weights
    of a step took time, at the better speed of two ways to read 1 GiB.

    All in turn in one process: what memory gives changes from minute to minute. A step is what a longer output takes more than
    a shorter one: the encoder, which has all the arithmetic, is not in it.
    """
    import torch

    model = stepper(size, folder, "float32", compiled=True, threads=threads)
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))[:1]
    many, few = torch.ones(2**14, 2**14), torch.ones(2**14)
    shorter, longer = writes(model, size, 1), writes(model, size, 1 + NEW)
    timed: dict[str, Callable[[], Any]] = {"sum": many.sum, "product": lambda: many @ few}
    timed |= {"shorter": lambda: shorter(sources, 1), "longer": lambda: longer(sources, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(TURNS + 1):
        for name, run in timed.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    taken = {name: statistics.median(times[1:]) for name, times in seconds.items()}  # the first was the warm-up
    limit = many.nbytes / min(taken["sum"], taken["product"]) / read_in_a_step(folder)
    return {"greedy 1": {"speed": limit, "ours": NEW / (taken["longer"] - taken["shorter"]), "ids": None}}


def read_in_a_step(folder: Path) -> int:
    """Bytes of the weights that a step reads."""
    import pellucid

    model = pellucid.load(folder / "ours", device="cpu").model
    # Keys and values of the source are computed once, and of the embeddings a step reads one row.
    once = (".cross_attn.key.", ".cross_attn.value.")
    read = [weight for name, weight in model.decoder.named_parameters() if not any(part in name for part in once)]
    return sum(weight.nbytes for weight in [*read, model.weight("output")])


def _worker(size: str, folder: Path, barrier: Any, answers: Any) -> None:
    decode = ours(size, folder, "int8", compiled=True, threads=1)
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))[:32]
    decode(sources, 1)
    barrier.wait()
    seconds = []
    while sum(seconds) < 2 * SECONDS or len(seconds) < 3:
        began = time.perf_counter()
        decode(sources, 1)
        seconds.append(time.perf_counter() - began)
    answers.put(len(sources) * NEW / statistics.median(seconds))


def whole(size: str, folder: Path, workers: int) -> dict[str, Any]:
    """Ours on the whole machine: processes of one thread side by side, batches of 32."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_worker, args=(size, folder, barrier, answers)) for _ in range(workers)]
    for process in processes:
        process.start()
    speeds = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return {"greedy 32": {"speed": sum(speeds), "ids": None}}


def main() -> None:
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]))
        print("{}")
        return
    engine, size, folder, precision, compiled, workers, threads = sys.argv[1:]
    if engine == "ours" and int(workers) > 1:
        found = whole(size, Path(folder), int(workers))
    elif engine == "memory":
        found = against_memory(size, Path(folder), int(threads))
    elif engine == "ours":
        found = measure(ours(size, Path(folder), precision, compiled=compiled == "1", threads=int(threads)), size, Path(folder))
    elif engine == "transformers":
        found = measure(transformers(size, Path(folder), precision, threads=int(threads)), size, Path(folder))
    else:
        decode = ctranslate2(size, Path(folder), precision, threads=int(threads), workers=int(workers))
        found = measure(decode, size, Path(folder), 64 if int(workers) > 1 else None)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
