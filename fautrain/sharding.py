"""Weights, gradients and optimizer state split over the ranks (FSDP2), and gathered for checkpoints.

Sharded tensors are DTensors: names and shapes are those of unsharded ones, each rank holds a part. Plain
tensors are left alone here, so that callers need not ask whether a run is sharded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from fautrain.models.vit import Block


def sharding_plugin() -> FullyShardedDataParallelPlugin:
    """FSDP2 with a unit for every transformer block and one for the rest of the model.

    Weights are gathered and gradients summed in their own type, float32: autocast alone lowers the precision,
    as without sharding, so that both give the same numbers.
    """
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[Block.__name__],
        mixed_precision_policy=MixedPrecisionPolicy(cast_forward_inputs=False),
    )


def admit_cpus(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin) -> None:
    """Turn sharding on for processes on CPUs too: Accelerate alone would quietly ignore the plugin there."""
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin


def compiled(module: nn.Module) -> nn.Module:
    """The module, compiled for each shape of its inputs: the batches and the smaller last one of an epoch.

    Left to itself, the compiler takes a second shape for the first of many and goes on with a slower graph of
    any shape. What was compiled before, for an earlier fold, is let go: there is a limit to graphs of one
    function, beyond which it would not be compiled at all.
    """
    torch.compiler.reset()
    return cast(nn.Module, torch.compile(module, dynamic=False))


def compile_blocks(module: nn.Module) -> None:
    """Compile the blocks of a model in place, as `compiled` does a whole one; they share their graphs."""
    torch.compiler.reset()
    for block in (part for part in module.modules() if isinstance(part, Block)):
        block.forward = torch.compile(block.forward, dynamic=False)


def shard(
    accelerator: Accelerator,
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    compiled: bool,
    passes: Iterable[str],
) -> nn.Module:
    """Split the parameters of `task` in place and point `optimizer` at the parts; returns what to call.

    The methods `passes` of the task gather the weights as a forward pass does: from here on all ranks call
    them, or none.
    `compiled` compiles the blocks one by one, inside of what gathers their weights.
    """
    if compiled:
        compile_blocks(task)
    sharded = cast(nn.Module, accelerator.prepare(task, optimizer)[0])
    for name in passes:
        register_fsdp_forward_method(sharded, name)
    return sharded


def lay_out_gradients(module: nn.Module) -> None:
    """Give gradients the strides of their parameters in dimensions of one element too, where strides mean
    nothing: with one sample a rank, that of `cls_token` is a view of all tokens', and DDP warns of it."""
    for parameter in module.parameters():
        if parameter.requires_grad and 1 in parameter.shape:
            parameter.register_hook(lambda gradient: gradient.reshape(-1).view(gradient.shape))


def is_sharded(module: nn.Module) -> bool:
    """Whether all ranks must call the module together."""
    return isinstance(module, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, on the device; all ranks must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(value: Any, keep: bool) -> Any:
    """Nested dicts and lists with whole tensors for sharded ones; all ranks must call it.

    The gathered tensors lie on the CPU, one at a time being on the device. With `keep` false this rank takes
    part and holds nothing of them.
    """
    if isinstance(value, DTensor):
        tensor = whole(value.detach())
        return tensor.cpu() if keep else tensor.new_empty(0)
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value).items()
        return {key: gathered(item, keep) for key, item in items}
    if isinstance(value, list):
        return [gathered(item, keep) for item in cast(list[Any], value)]
    return value


def like(value: Tensor, ours: Tensor | None) -> Tensor:
    """This rank's part of a whole tensor, split as `ours`; itself where `ours` is plain or of another shape.

    Every rank holds the whole, so nothing is sent.
    """
    if not isinstance(ours, DTensor) or ours.shape != value.shape:
        return value
    return distribute_tensor(value.to(ours.device), ours.device_mesh, ours.placements, src_data_rank=None)  # pyright: ignore


def optimizer_like(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An unsharded optimizer's state dict, its tensors split as the parameters that they belong to."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    parts = {
        index: {
            name: like(item, parameters[index]) if isinstance(item, Tensor) else item
            for name, item in entry.items()
        }
        for index, entry in state["state"].items()
    }
    return {**state, "state": parts}
