"""Ranks that hold a part of every weight, gradient and moment each, for models that one device cannot hold with all of these.

PyTorch's FSDP2 (``fully_shard``): the parts of a block's weights are gathered when it is computed, and dropped again.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from pellucid.base.config import RuntimeConfig
from pellucid.base.errors import StorageError
from pellucid.model.block import Block
from pellucid.training.parallel import ManyRanks


class ShardedRanks(ManyRanks):
    """The processes that ``torchrun`` started, each with a part of the model.

    Args:
        config: ``shard`` says among whom: ``full``, all; ``hybrid``, those of one node, so that each node holds the whole.
        nodes: machines, with the same number of ranks each.
    """

    def __init__(self, config: RuntimeConfig, nodes: int) -> None:
        super().__init__(config.timeout)
        device = "cuda" if config.device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
        if config.shard == "hybrid":
            self.mesh = init_device_mesh(device, (nodes, self.size // nodes), mesh_dim_names=("replicate", "shard"))
        else:
            self.mesh = init_device_mesh(device, (self.size,))
        self.policy = MixedPrecisionPolicy()
        if config.precision == "bfloat16":  # half as much to send; gradients are added up in float32
            self.policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Cut the model's weights into parts, in place."""
        # A warning to those who add to a block's output in place. Nobody does here.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        self._copy = copy.deepcopy(model)
        shard(model, self.mesh, self.policy)
        return model

    def micro_step(self, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        assert isinstance(trained, FSDPModule)
        trained.set_requires_gradient_sync(last)
        return super(ManyRanks, self).micro_step(trained, last=last)

    def gathered(self, value: Tensor) -> Tensor:
        return value.full_tensor() if isinstance(value, DTensor) else value

    def write_parts(self, values: Mapping[str, Tensor], directory: Path | None = None) -> bool:
        told = [directory]
        dist.broadcast_object_list(told, src=0, group=self._control)
        writer = HuggingFaceStorageWriter(str(told[0]), save_distributed=True)  # safetensors; DCP's own form holds pickles
        try:
            save(dict(values), storage_writer=writer, process_group=self._control)
        except CheckpointException as error:
            refusal = next((each for each, _ in error.failures.values() if isinstance(each, OSError)), None)
            if refusal is None:
                raise
            if self.first:
                raise refusal from error  # told of where the checkpoint is written
            raise StorageError(f"cannot be written: {refusal.strerror}", where=told[0]) from error
        return True

    def spread(self, value: Tensor, like: Tensor) -> Tensor:
        if isinstance(value, DTensor) or not isinstance(like, DTensor) or not value.ndim:
            return value
        # Every rank has read the same file, so that nothing has to be sent.
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    @contextmanager
    def whole(self, model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """A copy, since each rank decodes at its own pace; while it is not needed it lies in the processor's memory."""
        live = model.state_dict() if weights is None else weights
        self._copy.load_state_dict({name: self.gathered(weight) for name, weight in live.items()})
        yield self._copy.to(self.mesh.device_type)
        self._copy.cpu()


def read_parts(directory: Path, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :meth:`ShardedRanks.write_parts` wrote, by however many ranks.

    Args:
        directory: of the files.
        held: weights by their names; ``"NAME/..."`` is read as far as ``NAME`` is held, in parts or whole. Whatever has no
            such name is read whole.
    """
    reader = HuggingFaceStorageReader(str(directory))
    values: dict[str, Tensor] = {}
    for name, kept in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(kept, TensorStorageMetadata)  # safetensors hold nothing else
        weight = held.get(name.rpartition("/")[0])
        if weight is not None and weight.shape == kept.size:
            values[name] = torch.zeros_like(weight)
        else:  # a count of steps
            values[name] = torch.zeros(kept.size, dtype=kept.properties.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(values, storage_reader=reader, no_dist=True)  # each rank for itself: nothing has to be agreed upon
    return values


def shard(model: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> None:
    """Cut the weights of a model into parts, block by block; what is in no block belongs to the whole.

    Cross-attention is a unit by itself: its keys and values are made before the block runs.
    """
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        if block.cross_attn is not None:
            fully_shard(block.cross_attn, mesh=mesh, mp_policy=policy)
            register_fsdp_forward_method(block.cross_attn, "project")
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # then divided: gloo adds up but does not average
