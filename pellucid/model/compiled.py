"""One step of a decoder as compiled code, for one sentence at a time: a row, or a row a beam.

The step is the decoder's own ``forward``, traced once for a number of rows and any length, compiled ahead of time
(AOTInductor), and kept in the user's cache. The weights are not part of it: models of one shape share it.

Shapes: B sentences, R rows, L positions so far, S source positions, G heads of keys and values, K width of a head, W keys and
values of all layers side by side, V vocabulary.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.files import write_atomically
from pellucid.base.progress import say
from pellucid.base.runtime import user_cache
from pellucid.model.cache import same_rows
from pellucid.model.few_rows import FEW, Summed
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, Memory, Prompt, State

LONGEST = 2**20  # positions, of schemes that have no table


class Compiled:
    """A model whose steps for a single sentence are compiled; all else is the model's own. It keeps the contract of decoding.

    Args:
        model: with its weights, in evaluation mode, on a CPU.
        config: its shape, and all else that its code depends on.
        rows: numbers of rows to compile for: 1 (greedy search, drawing), or the number of beams. Others are not compiled.

    Raises:
        UsageError: too many rows, a model elsewhere than on a CPU, or no compiler.
        StorageError: the user's cache cannot be written.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly, config: ModelConfig, rows: Sequence[int]) -> None:
        self.model, self.config = model, config
        self._step = _Step(model)
        self._runners = {number: self._runner(number) for number in rows}

    def encode(self, source: Tensor, mask: Tensor) -> Memory | Prompt:
        """As the model does."""
        return self.model.encode(source, mask)

    def start(self, memory: Memory | Prompt, beams: int = 1) -> State | CompiledState:
        """The state before the first step; compiled steps go on from one sentence without padding."""
        state = self.model.start(memory, beams)  # type: ignore[arg-type]
        alone = state.rows == beams and state.keys is None and state.memory_mask is None
        return CompiledState(state, self._step, self._runners[beams]) if alone and beams in self._runners else state

    def step(self, ids: Tensor, state: State | CompiledState) -> tuple[Tensor, State | CompiledState]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        if isinstance(state, State):
            return self.model.step(ids, state)
        columns = [state.step(column[:, None])[0] for column in ids.T.contiguous()]  # (R, V) each
        return torch.stack(columns, dim=1), state

    def _runner(self, rows: int) -> Any:
        if rows > FEW:
            raise UsageError("too many rows for a compiled step", where="beams", expected=f"at most {FEW}", found=rows)
        device = self.model.weight("output").device
        if device.type != "cpu":
            raise UsageError("steps are compiled for CPUs", where="device", expected="cpu", found=device)
        path = user_cache("compiled") / f"{_fingerprint(self._step, self.config, rows)}.pt2"
        if not path.is_file():
            say(f"compiling a step for {rows} row{'s' if rows > 1 else ''}: takes about half a minute, once")
            _compile(self._step, rows, path)
        # torch's Python side of this would import its whole compiler, for a second
        loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
        numbers = {**dict(self._step.named_parameters(remove_duplicate=False)), **dict(self._step.named_buffers())}
        constants = {name: numbers[name].detach() for name in loader.get_constant_fqns()}
        loader.load_constants(constants, False, True, True)
        return loader.boxed_run


class CompiledState:
    """What a compiled decoder carries from step to step: keys and values, laid out ahead.

    Args:
        state: after the prompt, where there is one.
        step: what is compiled.
        run: the compiled code.
    """

    def __init__(self, state: State, step: _Step, run: Any) -> None:
        self.length, self.rows = state.length, state.rows
        self._check, self._run = step.decoder.positions.check, run
        self._barred = torch.zeros(step.vocabulary)
        self._never: Tensor | None = None  # what ``_barred`` was made from
        self._memory = [side for pair in state.memory for side in pair]  # (1, G, S, K) each
        self._store = torch.empty(max(64, 2 * self.length), self.rows, 2 * sum(step.widths), dtype=step.dtype)
        if self.length:
            caches: list[Any] = state.caches  # of keys and values
            past = [cache.stored() for cache in caches]  # (R, G, L, K)
            self._store[: self.length] = torch.cat(
                [side.permute(2, 0, 1, 3).flatten(2) for pair in past for side in pair], dim=2
            )

    def step(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes in ids (R, 1), gives logits (R, V), and log probability and id of the best token of each row, (R,) each."""
        self._check(self.length + 1)
        if self.length + 1 > len(self._store):
            self._store = torch.cat((self._store, torch.empty_like(self._store)))
        logits, values, best, fresh = self._run([ids, self._store[: self.length + 1], self._barred, *self._memory])
        self._store[self.length] = fresh
        self.length += 1
        return logits, values, best

    def best(self, ids: Tensor, never: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in ids (R, 1); log probability and id of each row's most probable token but for those of ``never``."""
        if never is not self._never:
            self._never, self._barred = never, torch.zeros_like(self._barred).index_fill_(0, never, -torch.inf)
        _, values, best = self.step(ids)
        return values, best

    def select(self, rows: Tensor) -> None:
        """Row ``i`` becomes what row ``rows[i]`` was."""
        if not same_rows(rows, self.rows):
            self._store[: self.length] = self._store[: self.length].index_select(1, rows)

    def truncate(self, length: int) -> None:
        """Forgets every position from ``length`` on."""
        self.length = min(self.length, length)


class _Step(nn.Module):
    """The graph of a step.

    (R, 1) ids, (L + 1, R, W) keys and values whose last position is still to come, (V,) what is added to the logits before the
    best is chosen, and the memory of each layer, in; (R, V) logits, (R,) log probabilities and ids of the best, and the (R, W)
    new keys and values out.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly) -> None:
        super().__init__()
        self.decoder, self.head, self.weights = model.decoder, model.head, model.weights
        self.roles = model.roles
        # G * K of each layer
        self.widths: list[int] = [layer.self_attn.key.out_features for layer in model.decoder.layers]  # type: ignore[union-attr, misc]
        self.vocabulary = len(model.weight("output"))
        self.dtype = model.weight("target").dtype  # of all that is not a product in 8 bits

    def forward(self, ids: Tensor, past: Tensor, barred: Tensor, memory: list[Tensor]) -> tuple[Tensor, ...]:
        sides = torch.split(past, [width for width in self.widths for _ in range(2)], dim=2)
        heads: list[int] = [layer.self_attn.n_kv_heads for layer in self.decoder.layers]  # type: ignore[union-attr, misc]
        caches = [_Last(sides[2 * at], sides[2 * at + 1], n_heads) for at, n_heads in enumerate(heads)]
        pairs = list(zip(memory[::2], memory[1::2], strict=True))
        with Summed():
            x = self.decoder(ids, self.weights[self.roles["target"]], pairs, caches=caches)  # (R, 1, D)
            logits = self.head(x, self.weights[self.roles["output"]])[:, 0].float()  # (R, V)
        values, best = (logits + barred).max(dim=1)
        return (
            logits,
            values - torch.logsumexp(logits, dim=1),
            best,
            torch.cat([side for cache in caches for side in cache.new], dim=1),
        )


class _Last:
    """Stands for a cache while a step is traced: (L + 1, R, G * K) each, of which the last position is put in its place."""

    def __init__(self, keys: Tensor, values: Tensor, n_heads: int) -> None:
        self.keys, self.values, self.n_heads = keys, values, n_heads
        self.length = keys.shape[0] - 1
        self.new: list[Tensor] = []

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(R, G, 1, K) each -> (R, G, L + 1, K)."""
        self.new = [key.flatten(1), value.flatten(1)]
        last = torch.arange(self.length + 1)[:, None, None] == self.length
        # Chosen number by number as they are read: nothing is copied.
        keys, values = torch.where(last, self.new[0], self.keys), torch.where(last, self.new[1], self.values)
        return self._heads(keys), self._heads(values)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, -1).permute(1, 2, 0, 3)


def _compile(step: _Step, rows: int, path: Path) -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        advice = "install one, name it in $CXX, or leave out --compile"
        raise UsageError("steps are compiled by a C++ compiler", where="--compile", found=f"no {compiler}", advice=advice)
    reach = step.decoder.positions.max_length or LONGEST
    length, source = torch.export.Dim("length", min=2, max=reach), torch.export.Dim("source", min=2, max=LONGEST)
    shapes = [_memory_shape(layer) for layer in step.decoder.layers]
    memory = [torch.zeros(1, n, 9, k, dtype=step.dtype) for n, k in shapes for _ in range(2) if n]
    inputs = (
        torch.zeros(rows, 1, dtype=torch.int64),
        torch.zeros(7, rows, 2 * sum(step.widths), dtype=step.dtype),
        torch.zeros(step.vocabulary),
        memory,
    )
    varying: tuple[Any, ...] = ({}, {0: length}, {}, [{2: source} for _ in memory])
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # torch's own, about itself
        program = torch.export.export(step.eval(), inputs, dynamic_shapes=varying, strict=False)
        from torch._inductor import aoti_compile_and_package

        options = {"aot_inductor.package_constants_in_so": False, "pattern_matcher": False}
        made = Path(folder) / "step.pt2"
        aoti_compile_and_package(program, package_path=str(made), inductor_configs=options)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.read_bytes())


def _memory_shape(layer: Any) -> tuple[int, int]:
    """G and K of what cross-attention reads; 0 where there is none."""
    attention = layer.cross_attn
    return (0, 0) if attention is None else (attention.n_kv_heads, attention.key.out_features // attention.n_kv_heads)


def _fingerprint(step: _Step, config: ModelConfig, rows: int) -> str:
    """Of all that the code depends on: the model's code, shape and weights' kinds, torch, the processor, and whether it has
    several threads."""
    kinds = {name: type(module).__name__ for name, module in step.named_modules()}
    weights = {name: (tuple(one.shape), str(one.dtype)) for name, one in step.state_dict().items()}
    machine = torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine(), torch.get_num_threads() > 1
    parts = [config, kinds, weights, rows, *machine]
    sources = [source.read_text(encoding="utf-8") for source in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256("\0".join([*map(repr, parts), *sources]).encode()).hexdigest()[:32]
