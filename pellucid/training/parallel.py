"""The processes of a run: one alone, or several that take every step together.

``torchrun`` starts them and calls each a *rank*. PyTorch does the work: process groups, DistributedDataParallel and, in
:mod:`pellucid.training.sharding`, FSDP2. Here stands what a run asks of its ranks.

All ranks walk through the same plan of batches and decide the same: whatever a decision rests on is added up over the ranks
first. So a step is the same step however many processes take it. Only the first rank writes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from pellucid.base.config import RuntimeConfig
from pellucid.base.errors import PellucidError, UsageError
from pellucid.base.progress import set_quiet

T = TypeVar("T")

PREPARING = timedelta(days=7)  # that the others wait for the first rank to prepare a corpus
ROLL_CALL = timedelta(seconds=5)  # in which a living rank answers
_NOTHING = object()


class RankError(PellucidError):
    """Another process of the run is gone or hangs."""


class Share(NamedTuple):
    """A rank's part of a batch.

    Args:
        examples: their numbers.
        real: whether they count. A rank that went empty gets an example of the batch that does not: it must take part in every
            exchange of gradients.
    """

    examples: Any
    real: bool


class Ranks:
    """One process alone: what ranks do together is done once it is asked for. :class:`ManyRanks` is the same for several."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def share(self, batches: Sequence[Any]) -> list[Share]:
        """This rank's part of the batches of one step; each rank gets as many parts.

        Whole batches are dealt out as far as they go, and where there are more ranks, the examples of each: of 4 batches two
        ranks take two each, and eight ranks half a batch each.
        """
        groups = math.gcd(len(batches), self.size)
        place, parts = self.rank // groups, self.size // groups
        mine = [(batch, batch[place::parts]) for batch in batches[self.rank % groups :: groups]]
        return [Share(part, True) if len(part) else Share(batch[:1], False) for batch, part in mine]

    def mine(self, some: Iterable[T]) -> Iterator[T]:
        """Those of ``some`` that this rank works on, each ``size``-th."""
        return islice(some, self.rank, None, self.size)

    def joined(self, mine: Sequence[T]) -> list[T]:
        """What all ranks made of what :meth:`mine` dealt out, in the order of the whole. For every rank to call."""
        return list(mine)

    def sum(self, *values: float) -> list[float]:
        """Each value added up over the ranks. For every rank to call."""
        return list(values)

    def agreed(self, number: int) -> int:
        """The largest number that a rank has. For every rank to call."""
        return number

    def wait(self) -> None:
        """Go on when every rank is here."""

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """What is inside is done by the first rank, then by the others, which find what it has written."""
        yield

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call in place of the model when training, so that gradients are averaged over the ranks."""
        return model

    def micro_step(self, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one of several batches of a step: gradients are exchanged after the ``last`` alone."""
        return nullcontext()

    def write_parts(self, values: Mapping[str, Tensor], directory: Path | None = None) -> bool:
        """Write what each rank holds of these values into ``directory``, which the first rank alone knows.

        For every rank to call. False, and nothing is written, where every rank holds the whole of them.
        """
        return False

    def gathered(self, value: Tensor) -> Tensor:
        """The whole of a weight, gradient or moment of which each rank may hold a part. For every rank to call."""
        return value

    def spread(self, value: Tensor, like: Tensor) -> Tensor:
        """This rank's part of ``value``, as it holds of ``like``."""
        return value

    @contextmanager
    def whole(self, model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """The model with every weight on this rank, to decode with; ``weights`` in place of its own, where given."""
        if weights is None:
            yield model
            return
        live = {name: weight.clone() for name, weight in model.state_dict().items()}
        model.load_state_dict(weights)
        yield model
        model.load_state_dict(live)


ALONE = Ranks()


class ManyRanks(Ranks):
    """The processes that ``torchrun`` started, each with a whole copy of the model (DistributedDataParallel).

    What is decided together goes over gloo, between the processors, so that it waits for no GPU.

    Args:
        seconds: that a rank may let the others wait.
    """

    def __init__(self, seconds: float) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        timeout = timedelta(seconds=seconds)
        self._control = dist.new_group(backend="gloo", timeout=timeout)
        self._roll_call = dist.new_group(backend="gloo", timeout=timeout)  # a group is of no use after a failure in it

    def joined(self, mine: Sequence[T]) -> list[T]:
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, list(mine), group=self._control)
        return [item for item in chain.from_iterable(zip_longest(*parts, fillvalue=_NOTHING)) if item is not _NOTHING]

    def sum(self, *values: float) -> list[float]:
        return self._reduced(dist.ReduceOp.SUM, values)

    def agreed(self, number: int) -> int:
        return int(self._reduced(dist.ReduceOp.MAX, [number])[0])

    def _reduced(self, operation: Any, values: Sequence[float]) -> list[float]:
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, operation, group=self._control)
        return found.tolist()

    def wait(self) -> None:
        dist.barrier(group=self._control)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        if not self.first:
            dist.monitored_barrier(self._control, timeout=PREPARING)
        yield
        if self.first:
            dist.monitored_barrier(self._control, timeout=PREPARING)
        self.wait()

    def wrap(self, model: nn.Module) -> nn.Module:
        # Buffers are tables that nothing changes. The option has another name since PyTorch 2.13.
        new = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
        same: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
        return DistributedDataParallel(model, **same)

    def micro_step(self, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        assert isinstance(trained, DistributedDataParallel)
        return nullcontext() if last else trained.no_sync()

    def lost(self) -> RankError:
        """The error that names the ranks that do not answer any more."""
        try:
            dist.monitored_barrier(self._roll_call, timeout=ROLL_CALL, wait_all_ranks=True)
            found = "all ranks answer now: one was slower than runtime.timeout allows"
        except RuntimeError as error:
            found = f"no answer from rank {self._silent(str(error))}"
        advice = "look at what that rank says, then give the command again: the run goes on from its newest checkpoint"
        return RankError("another process of the run is gone or hangs", where=f"rank {self.rank}", found=found, advice=advice)

    def _silent(self, message: str) -> str:
        """Which ranks did not answer, as far as this one knows: only the first learns of all."""
        named = re.search(r"Ranks? ([\d, ]+) failed", message)
        if named:
            return named[1]
        if self.size == 2:
            return str(1 - self.rank)
        return "another one than this" if self.first else "0, or from the one that it names"


@contextmanager
def together(config: RuntimeConfig) -> Iterator[Ranks]:
    """The processes of this run: those that ``torchrun`` started, or this one alone.

    Raises:
        RankError: another process died, did not come, or let this one wait for longer than ``config.timeout``.
        UsageError: all of them would use one GPU.
    """
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    backend, timeout = "gloo", timedelta(seconds=config.timeout)
    if config.device.startswith("cuda:"):
        raise UsageError("all processes would use one GPU", where="runtime.device", expected="cuda", found=config.device)
    if config.device in ("auto", "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    try:
        ranks = _met(config, backend, timeout)
    except RuntimeError as error:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise _not_met(error) from error
    if not ranks.first:
        set_quiet(True)
    try:
        yield ranks
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("gloo", "NCCL", "monitoredBarrier", "TCPStore")):
            raise
        raise ranks.lost() from error
    finally:
        dist.destroy_process_group()


def _met(config: RuntimeConfig, backend: str, timeout: timedelta) -> ManyRanks:
    """The ranks, once all of them have come."""
    store, rank, size = next(iter(rendezvous("env://", timeout=timeout)))
    # After a restart the store still holds what the processes before have told each other, of ports that are closed.
    store = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    if config.shard == "none":
        return ManyRanks(config.timeout)
    from pellucid.training.sharding import ShardedRanks

    return ShardedRanks(config, nodes=dist.get_world_size() // int(os.environ["LOCAL_WORLD_SIZE"]))


def _not_met(error: RuntimeError) -> RankError:
    """The error of a rank that waited for the others in vain; PyTorch says of it as much as the first line of its own."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return RankError(
        "the processes of the run did not find each other",
        where=f"rank {rank}",
        expected=f"{size} processes" + (f"; the other one is rank {1 - rank}" if size == 2 else ""),
        found=next(iter(str(error).splitlines()), type(error).__name__),
        advice="look at what the others say, then give the command again; raise runtime.timeout where processes start slowly",
    )
