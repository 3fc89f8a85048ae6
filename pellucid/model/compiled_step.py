"""One step of a decoder as a graph, traced from the decoder's own ``forward``, and its compiled code in the user's cache.

There are two kinds. The step of one sentence has a row, or a row a beam: its products are written as sums. The step of many
sentences has any number of them, with a fixed number of rows each: its products are calls of a library.

Shapes: B sentences, N sentences that a search began with, K rows a sentence (beams), R = B K rows, C = 2 K candidates, L
positions so far, S source positions, G heads of keys and values, E width of a head, W keys and values of all layers side by
side, V vocabulary.
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
from pellucid.model.few_rows import BlockedLinear, Summed
from pellucid.model.many_rows import called, matrices
from pellucid.model.packed import Int8Linear, PackedLinear
from pellucid.model.ranking import largest_sums_in_blocks
from pellucid.model.transformer import DecoderOnly, EncoderDecoder

LONGEST = 2**20  # positions, of schemes that have no table; sentences of a batch
KEPT = 50  # compiled steps in the user's cache, of some three megabytes each; older ones make room


class Step(nn.Module):
    """The graph of a step.

    (B, K) ids, (L + 1, N K, W) keys and values whose last position is still to come, (V,) what is added to the logits before
    the best is chosen, and the memory of each layer, (N, G, S, E), in; (R, V) logits and the (R, W) new keys and values, last,
    out. Between them

    - with one row a sentence, (R,) log probability and id of the best token;
    - with beams (B, C + 1) the largest sums of log probabilities, their places in (K, V), and whether two of a sentence are
      equal.

    With beams, and of many sentences, there come in besides: (L + 1, R) which row holds a position of a row, and (B, K) the
    sums so far. Of many sentences that read something also: (B,) numbers of those that are left, and (N, S) which positions of
    the sources are real.

    Args:
        model: it shares the weights.
        beams: K.
        many: of any number of sentences; else of one.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly, beams: int, *, many: bool) -> None:
        super().__init__()
        self.decoder, self.head, self.weights = model.decoder, model.head, model.weights
        self.roles, self.beams, self.many = model.roles, beams, many
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
        sentences: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        sides = torch.split(past, [width for width in self.widths for _ in range(2)], dim=2)
        heads: list[int] = [layer.self_attn.n_kv_heads for layer in self.decoder.layers]  # type: ignore[union-attr, misc]
        caches = [_Last(sides[2 * at], sides[2 * at + 1], n_heads, order) for at, n_heads in enumerate(heads)]
        if sentences is not None and source_mask is not None:
            memory, source_mask = [side[sentences] for side in memory], source_mask[sentences]
        pairs = list(zip(memory[::2], memory[1::2], strict=True))
        with Summed():
            x = self.decoder(
                ids.reshape(-1, 1), self.weights[self.roles["target"]], pairs, memory_keys=source_mask, caches=caches
            )  # (R, 1, D)
            logits = self.head(x, self.weights[self.roles["output"]])[:, 0].float()  # (R, V)
        fresh = torch.cat([side for cache in caches for side in cache.new], dim=1)
        norm = torch.logsumexp(logits, dim=1)
        if self.beams == 1 or totals is None:
            values, best = (logits + barred).max(dim=1)
            return logits, values - norm, best, fresh
        values = (logits - norm[:, None] + barred).view(-1, self.beams, self.vocabulary)
        count = min(2 * self.beams + 1, self.beams * self.vocabulary)
        sums, places = largest_sums_in_blocks(totals, values, count)
        return logits, sums, places, ((sums[:, 1:] == sums[:, :-1]) & (sums[:, 1:] > -torch.inf)).any(), fresh

    def examples(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What the graph is traced with, and which axes of it vary."""
        reach = self.decoder.positions.max_length or LONGEST
        length, source = torch.export.Dim("length", min=2, max=reach), torch.export.Dim("source", min=2, max=LONGEST)
        begun, left = torch.export.Dim("begun", min=2, max=LONGEST), torch.export.Dim("left", min=2, max=LONGEST)
        n_begun, n_left = (5, 3) if self.many else (1, 1)
        shapes = [_memory_shape(layer) for layer in self.decoder.layers]
        memory = [torch.zeros(n_begun, n, 9, k, dtype=self.dtype) for n, k in shapes for _ in range(2) if n]
        inputs: tuple[Any, ...] = (
            torch.zeros(n_left, self.beams, dtype=torch.int64),
            torch.zeros(7, n_begun * self.beams, 2 * sum(self.widths), dtype=self.dtype),
            torch.zeros(self.vocabulary),
            memory,
        )
        of_begun, of_left = ({0: begun}, {0: left}) if self.many else ({}, {})
        rows_begun, rows_left = ({1: self.beams * begun}, {1: self.beams * left}) if self.many else ({}, {})
        varying: tuple[Any, ...] = (of_left, {0: length, **rows_begun}, {}, [{**of_begun, 2: source} for _ in memory])
        if self.many or self.beams > 1:
            order = torch.zeros(7, n_left * self.beams, dtype=torch.int64)
            inputs += (order, torch.zeros(n_left, self.beams, dtype=torch.float64))
            varying += ({0: length, **rows_left}, of_left)
        if self.many and memory:
            inputs += (torch.zeros(n_left, dtype=torch.int64), torch.ones(n_begun, 9, dtype=torch.bool))
            varying += (of_left, {**of_begun, 1: source})
        return inputs, varying


class _Last:
    """Stands for a cache while a step is traced: (L + 1, N K, G * E) each, of which the last position is put in its place.

    ``order`` (L + 1, R) says which row holds a position of a row; ``None``: its own.
    """

    def __init__(self, keys: Tensor, values: Tensor, n_heads: int, order: Tensor | None) -> None:
        self.keys, self.values, self.n_heads, self.order = keys, values, n_heads, order
        self.length = keys.shape[0] - 1
        self.new: list[Tensor] = []

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(R, G, 1, E) each -> (R, G, L + 1, E)."""
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


def for_compiling(step: Step) -> Step:
    """The same step with the products that its kind wants; it shares all other weights."""
    if step.beams == 1 and not step.many:
        return step
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*step.parameters(), *step.buffers())}
    for name, module in step.named_modules():
        if type(module) in (nn.Linear, PackedLinear, Int8Linear):
            once = name.endswith((".cross_attn.key", ".cross_attn.value"))  # of the source, before the first step
            memo[id(module)] = module if once else called(module) if step.many else _in_blocks(module)
    found = copy.deepcopy(step, memo)
    if found.head.product is None and not step.many:
        found.head.product = BlockedLinear(step.weights[step.roles["output"]], step.head.bias, None)
    return found


def _in_blocks(module: Any) -> BlockedLinear:
    return BlockedLinear(module.weight, module.bias, getattr(module, "scale", None))


def code(step: Step, config: ModelConfig) -> Any:
    """The compiled code of a step that is ready for compiling, from the user's cache or made now: inputs in, outputs out.

    Raises:
        UsageError: there is no compiler.
        StorageError: the user's cache cannot be written.
    """
    path = user_cache("compiled") / f"{_fingerprint(step, config)}.pt2"
    try:
        loader = _load(path)
    except RuntimeError:  # not there, or damaged
        rows = f"{step.beams} row{'s' if step.beams > 1 else ''}" + (" a sentence" if step.many else "")
        say(f"compiling a step for {rows}: takes about half a minute, once")
        _compile(step, path)
        loader = _load(path)
    numbers = {
        **dict(step.named_parameters(remove_duplicate=False)),
        **dict(step.named_buffers(remove_duplicate=False)),
        **matrices(step),
    }
    constants = {name: numbers[name].detach() for name in loader.get_constant_fqns()}
    loader.load_constants(constants, False, True, True)
    return loader.boxed_run


def _load(path: Path) -> Any:
    # torch's Python side of this would import its whole compiler, for a second
    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)


def _compile(step: Step, path: Path) -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        advice = "install one, name it in $CXX, or leave out --compile"
        raise UsageError("steps are compiled by a C++ compiler", where="--compile", found=f"no {compiler}", advice=advice)
    inputs, varying = step.examples()
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # torch's own, about itself
        program = torch.export.export(step.eval(), inputs, dynamic_shapes=varying, strict=False)
        from torch._inductor import aoti_compile_and_package
        from torch._inductor.exc import InductorError

        options = {
            "aot_inductor.package_constants_in_so": False,
            "pattern_matcher": False,
            "cpp.enable_floating_point_contract_flag": "fast",  # multiplies and adds at once: a quarter of a product's time
            # Memory for all that is between is taken at once: piece by piece it was a twentieth of so small a step.
            "memory_planning": step.beams == 1 and not step.many,
        }
        made = Path(folder) / "step.pt2"
        try:
            aoti_compile_and_package(program, package_path=str(made), inductor_configs=options)
        except InductorError as error:
            if not isinstance(error.inner_exception, RecursionError):
                raise
            # Planning recurses, a few levels a layer: deeper models do without it.
            aoti_compile_and_package(program, package_path=str(made), inductor_configs={**options, "memory_planning": False})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.read_bytes())
    _make_room(path.parent)


def _make_room(folder: Path) -> None:
    for old in sorted(folder.glob("*.pt2"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def _memory_shape(layer: Any) -> tuple[int, int]:
    """G and E of what cross-attention reads; 0 where there is none."""
    attention = layer.cross_attn
    return (0, 0) if attention is None else (attention.n_kv_heads, attention.key.out_features // attention.n_kv_heads)


def _width(attention: MultiHeadAttention) -> int:
    """G * E."""
    width: int = attention.output.in_features  # type: ignore[assignment]
    return width // attention.n_heads * attention.n_kv_heads


def _fingerprint(step: Step, config: ModelConfig) -> str:
    """Of all that the code depends on: the model's code, shape and weights' kinds, torch, the processor, and whether it has
    several threads."""
    kinds = {name: type(module).__name__ for name, module in step.named_modules()}
    weights = {name: (tuple(one.shape), str(one.dtype)) for name, one in step.state_dict().items()}
    machine = torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine(), torch.get_num_threads() > 1
    parts = [config, kinds, weights, step.beams, step.many, *machine]
    sources = [source.read_text(encoding="utf-8") for source in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256("\0".join([*map(repr, parts), *sources]).encode()).hexdigest()[:32]
