"""One step of a decoder as compiled code, for one sentence at a time: a row, or a row a beam.

The step is the decoder's own ``forward``, traced once for a number of rows and any length, compiled ahead of time
(AOTInductor), and kept in the user's cache. The weights are not part of it: models of one shape share it.

Shapes: B sentences, R rows, C = 2 R candidates of beams, L positions so far, S source positions, G heads of keys and values,
K width of a head, W keys and values of all layers side by side, V vocabulary.
"""

from __future__ import annotations

import copy
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
from pellucid.model.attention import MultiHeadAttention
from pellucid.model.few_rows import FEW, BlockedLinear, Summed
from pellucid.model.packed import Int8Linear, PackedLinear
from pellucid.model.ranking import largest, largest_sums, largest_sums_in_blocks
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, Memory, Prompt, State

LONGEST = 2**20  # positions, of schemes that have no table
KEPT = 50  # compiled steps in the user's cache, of some three megabytes each; older ones make room


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
        self._runners = {number: self._runner(number) for number in rows}

    def encode(self, source: Tensor, mask: Tensor) -> Memory | Prompt:
        """As the model does."""
        return self.model.encode(source, mask)

    def start(self, memory: Memory | Prompt, beams: int = 1) -> State | CompiledState:
        """The state before the first step; compiled steps go on from one sentence without padding."""
        state = self.model.start(memory, beams)  # type: ignore[arg-type]
        alone = state.rows == beams and state.keys is None and state.memory_mask is None
        return CompiledState(state, *self._runners[beams]) if alone and beams in self._runners else state

    def step(self, ids: Tensor, state: State | CompiledState) -> tuple[Tensor, State | CompiledState]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        if isinstance(state, State):
            return self.model.step(ids, state)
        columns = [state.step(column[:, None]) for column in ids.T.contiguous()]  # (R, V) each
        return torch.stack(columns, dim=1), state

    def _runner(self, rows: int) -> tuple[_Step, Any]:
        """The graph of a step, and the compiled code."""
        if rows > FEW:
            raise UsageError("too many rows for a compiled step", where="beams", expected=f"at most {FEW}", found=rows)
        device = self.model.weight("output").device
        if device.type != "cpu":
            raise UsageError("steps are compiled for CPUs", where="device", expected="cpu", found=device)
        step = _Step(self.model) if rows == 1 else _in_blocks(_Step(self.model))
        path = user_cache("compiled") / f"{_fingerprint(step, self.config, rows)}.pt2"
        try:
            loader = _load(path)
        except RuntimeError:  # not there, or damaged
            say(f"compiling a step for {rows} row{'s' if rows > 1 else ''}: takes about half a minute, once")
            _compile(step, rows, path)
            loader = _load(path)
        numbers = {**dict(step.named_parameters(remove_duplicate=False)), **dict(step.named_buffers())}
        constants = {name: numbers[name].detach() for name in loader.get_constant_fqns()}
        loader.load_constants(constants, False, True, True)
        return step, loader.boxed_run


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
        room = max(64, 2 * self.length)
        self._store = torch.empty(room, self.rows, 2 * sum(step.widths), dtype=step.dtype)
        # Beams: which row of the store holds a position of a beam. Reordered in place of the store, which is larger.
        self._own = torch.arange(self.rows)
        self._order = self._own.repeat(room, 1)
        self._no_totals = torch.zeros(self.rows, dtype=torch.float64)
        if self.length:
            caches: list[Any] = state.caches  # of keys and values
            past = [cache.stored() for cache in caches]  # (R, G, L, K)
            self._store[: self.length] = torch.cat(
                [side.permute(2, 0, 1, 3).flatten(2) for pair in past for side in pair], dim=2
            )

    def step(self, ids: Tensor) -> Tensor:
        """Takes in ids (R, 1), gives logits (R, V)."""
        return self._advance(ids, self._no_totals)[0]

    def best(self, ids: Tensor, never: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in ids (R, 1); log probability and id of each row's most probable token but for those of ``never``."""
        self._bar(never)
        logits, *found = self._advance(ids, self._no_totals)
        if self.rows == 1:
            values, best = found
            return values, best
        return largest(torch.log_softmax(logits, dim=1) + self._barred)

    def best_sums(self, ids: Tensor, never: Tensor, totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes in ids (R, 1) of the beams of one sentence, with their sums of log probabilities (1, R) so far, float64.

        Returns:
            The C largest sums with a next token that is not of ``never``, the beam and the token of each: (1, C) each, as of
            :func:`pellucid.model.ranking.largest_sums`.
        """
        self._bar(never)
        logits, *found = self._advance(ids, totals[0])
        if self.rows > 1:
            sums, places, tied = found
            if not tied:
                return sums[:, :-1], places[:, :-1] // len(self._barred), places[:, :-1] % len(self._barred)
        return largest_sums(totals, torch.log_softmax(logits, dim=1) + self._barred, 2 * self.rows)

    def select(self, rows: Tensor) -> None:
        """Row ``i`` becomes what row ``rows[i]`` was."""
        self._order[: self.length] = self._order[: self.length].index_select(1, rows)

    def truncate(self, length: int) -> None:
        """Forgets every position from ``length`` on."""
        self.length = min(self.length, length)
        self._order[self.length :] = self._own

    def _bar(self, never: Tensor) -> None:
        if never is not self._never:
            self._never, self._barred = never, torch.zeros_like(self._barred).index_fill_(0, never, -torch.inf)

    def _advance(self, ids: Tensor, totals: Tensor) -> list[Tensor]:
        """What the step gives but for the new keys and values, which are put into their place."""
        self._check(self.length + 1)
        if self.length + 1 > len(self._store):
            self._store = torch.cat((self._store, torch.empty_like(self._store)))
            self._order = torch.cat((self._order, self._own.expand_as(self._order)))
        beams = [self._order[: self.length + 1], totals] if self.rows > 1 else []
        *found, fresh = self._run([ids, self._store[: self.length + 1], self._barred, *self._memory, *beams])
        self._store[self.length] = fresh
        self.length += 1
        return found


class _Step(nn.Module):
    """The graph of a step.

    (R, 1) ids, (L + 1, R, W) keys and values whose last position is still to come, (V,) what is added to the logits before the
    best is chosen, and the memory of each layer, in; (R, V) logits and the (R, W) new keys and values, last, out. Between them

    - with one row, (1,) log probability and id of the best token;
    - with the beams of a sentence, where (L + 1, R) the rows that hold their positions and (R,) their sums so far come in, too,
      (1, C + 1) the largest sums, their places in (R, V), and whether two of them are equal.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly) -> None:
        super().__init__()
        self.decoder, self.head, self.weights = model.decoder, model.head, model.weights
        self.roles = model.roles
        self.widths = [_width(layer.self_attn) for layer in model.decoder.layers]  # type: ignore[arg-type]
        self.vocabulary = len(model.weight("output"))
        self.dtype = model.weight("target").dtype  # of all that is not a product in 8 bits

    def forward(
        self,
        ids: Tensor,
        past: Tensor,
        barred: Tensor,
        memory: list[Tensor],
        order: Tensor | None = None,
        totals: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        sides = torch.split(past, [width for width in self.widths for _ in range(2)], dim=2)
        heads: list[int] = [layer.self_attn.n_kv_heads for layer in self.decoder.layers]  # type: ignore[union-attr, misc]
        caches = [_Last(sides[2 * at], sides[2 * at + 1], n_heads, order) for at, n_heads in enumerate(heads)]
        pairs = list(zip(memory[::2], memory[1::2], strict=True))
        with Summed():
            x = self.decoder(ids, self.weights[self.roles["target"]], pairs, caches=caches)  # (R, 1, D)
            logits = self.head(x, self.weights[self.roles["output"]])[:, 0].float()  # (R, V)
        fresh = torch.cat([side for cache in caches for side in cache.new], dim=1)
        norm = torch.logsumexp(logits, dim=1)
        if totals is None:
            values, best = (logits + barred).max(dim=1)
            return logits, values - norm, best, fresh
        values = (logits - norm[:, None] + barred)[None]  # (1, R, V)
        count = min(2 * len(totals) + 1, values.numel())
        sums, places = largest_sums_in_blocks(totals[None], values, count)
        return logits, sums, places, ((sums[:, 1:] == sums[:, :-1]) & (sums[:, 1:] > -torch.inf)).any(), fresh


class _Last:
    """Stands for a cache while a step is traced: (L + 1, R, G * K) each, of which the last position is put in its place.

    ``order`` (L + 1, R) says which row holds a position of a beam; ``None``: its own.
    """

    def __init__(self, keys: Tensor, values: Tensor, n_heads: int, order: Tensor | None) -> None:
        self.keys, self.values, self.n_heads, self.order = keys, values, n_heads, order
        self.length = keys.shape[0] - 1
        self.new: list[Tensor] = []

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(R, G, 1, K) each -> (R, G, L + 1, K)."""
        self.new = [key.flatten(1), value.flatten(1)]
        positions = torch.arange(self.length + 1)[:, None]
        last = (positions == self.length)[:, :, None]
        # Chosen number by number as they are read: nothing is copied.
        keys, values = (
            torch.where(last, new, side if self.order is None else side[positions, self.order])
            for new, side in zip(self.new, (self.keys, self.values), strict=True)
        )
        return self._heads(keys), self._heads(values)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, -1).permute(1, 2, 0, 3)


def _in_blocks(step: _Step) -> _Step:
    """The same step with its products in blocks; it shares all other weights."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*step.parameters(), *step.buffers())}
    for name, module in step.named_modules():
        if type(module) in (nn.Linear, PackedLinear, Int8Linear):
            once = name.endswith((".cross_attn.key", ".cross_attn.value"))  # of the source, before the first step
            memo[id(module)] = module if once else BlockedLinear(module.weight, module.bias, getattr(module, "scale", None))
    found = copy.deepcopy(step, memo)
    if found.head.product is None:
        found.head.product = BlockedLinear(step.weights[step.roles["output"]], step.head.bias, None)
    return found


def _load(path: Path) -> Any:
    # torch's Python side of this would import its whole compiler, for a second
    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)


def _compile(step: _Step, rows: int, path: Path) -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        advice = "install one, name it in $CXX, or leave out --compile"
        raise UsageError("steps are compiled by a C++ compiler", where="--compile", found=f"no {compiler}", advice=advice)
    reach = step.decoder.positions.max_length or LONGEST
    length, source = torch.export.Dim("length", min=2, max=reach), torch.export.Dim("source", min=2, max=LONGEST)
    shapes = [_memory_shape(layer) for layer in step.decoder.layers]
    memory = [torch.zeros(1, n, 9, k, dtype=step.dtype) for n, k in shapes for _ in range(2) if n]
    inputs: tuple[Any, ...] = (
        torch.zeros(rows, 1, dtype=torch.int64),
        torch.zeros(7, rows, 2 * sum(step.widths), dtype=step.dtype),
        torch.zeros(step.vocabulary),
        memory,
    )
    varying: tuple[Any, ...] = ({}, {0: length}, {}, [{2: source} for _ in memory])
    if rows > 1:
        inputs += (torch.arange(rows).repeat(7, 1), torch.zeros(rows, dtype=torch.float64))
        varying += ({0: length}, {})
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # torch's own, about itself
        program = torch.export.export(step.eval(), inputs, dynamic_shapes=varying, strict=False)
        from torch._inductor import aoti_compile_and_package

        options = {
            "aot_inductor.package_constants_in_so": False,
            "pattern_matcher": False,
            "cpp.enable_floating_point_contract_flag": "fast",  # multiplies and adds at once: a quarter of a product's time
        }
        made = Path(folder) / "step.pt2"
        aoti_compile_and_package(program, package_path=str(made), inductor_configs=options)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.read_bytes())
    _make_room(path.parent)


def _make_room(folder: Path) -> None:
    for old in sorted(folder.glob("*.pt2"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def _memory_shape(layer: Any) -> tuple[int, int]:
    """G and K of what cross-attention reads; 0 where there is none."""
    attention = layer.cross_attn
    return (0, 0) if attention is None else (attention.n_kv_heads, attention.key.out_features // attention.n_kv_heads)


def _width(attention: MultiHeadAttention) -> int:
    """G * K."""
    width: int = attention.output.in_features  # type: ignore[assignment]
    return width // attention.n_heads * attention.n_kv_heads


def _fingerprint(step: _Step, config: ModelConfig, rows: int) -> str:
    """Of all that the code depends on: the model's code, shape and weights' kinds, torch, the processor, and whether it has
    several threads."""
    kinds = {name: type(module).__name__ for name, module in step.named_modules()}
    weights = {name: (tuple(one.shape), str(one.dtype)) for name, one in step.state_dict().items()}
    machine = torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine(), torch.get_num_threads() > 1
    parts = [config, kinds, weights, rows, *machine]
    sources = [source.read_text(encoding="utf-8") for source in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256("\0".join([*map(repr, parts), *sources]).encode()).hexdigest()[:32]
