"""The statistics of a batch that is spread over processes, as synchronised batch norm goes by.

One exchange forwards, of each process's count, means and sums of squares, and one backwards, of two sums a channel.
What is exchanged is combined in the order of the ranks, in float64: every process has the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.ops.library import is_transformed
from genfuse.ops.norm_stats import stats_of

Group = Any
"""`torch.distributed.ProcessGroup`, whose type builds of PyTorch without distributed processes lack."""


def group_of(given: Group | None) -> Group | None:
    """The group, by default all processes, where it has several; else None."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group = dist.group.WORLD if given is None else given
    return group if dist.get_world_size(group) > 1 else None


def group_named(name: str) -> Group:
    """The group of this `group_name`, which a graph may hold where no group may be."""
    c10d: Any = dist.distributed_c10d
    return c10d._resolve_process_group(name)


def synchronised_stats(
    x: Tensor, skip: Tensor | None, group: Group, of_sample: Tensor | None = None
) -> tuple[Tensor, int]:
    """Mean and biased variance of each channel over the batches of all processes, and the values a channel has.

    x, skip   (N, C, H, W) and (N, C', H, W); N and the size may differ between processes, and N may be 0
    group     of several processes, each of which calls this, and runs backward through it, in the same order
    of_sample (N, C + C', 2): the statistics of each sample here, where they are measured already

    Returns (C + C', 2) float32, or float64 where x is, and the count. Differentiable, twice too. ValueError where a
    channel has a single value in all processes together; every process raises it. UnsupportedError inside a transform
    of torch.func.
    """
    # Collectives stay where they are, between the graphs. Asked for here: on import it would bring the compiler along.
    result: tuple[Tensor, int] = torch.compiler.disable(_synchronised_stats)(x, skip, group, of_sample)
    return result


def _synchronised_stats(
    x: Tensor, skip: Tensor | None, group: Group, of_sample: Tensor | None
) -> tuple[Tensor, int]:
    if is_transformed():
        raise UnsupportedError(
            "torch.func's transforms do not go through a SyncBatchNorm of several processes: take torch.autograd, or "
            "the module in eval mode"
        )
    parts = [part for part in (x, skip) if part is not None]
    with torch.no_grad():
        measured_here = stats_of(x, skip) if of_sample is None else of_sample
        means, variances = measured_here.double().unbind(2)
        pixels = x.shape[2] * x.shape[3]
        count = x.shape[0] * pixels
        mean = means.sum(0) / max(x.shape[0], 1)
        squares = (variances + (means - mean).square()).sum(0) * pixels
        every = _exchanged(torch.cat((mean.new_full((1,), count), mean, squares)), group)
        counts, means, squares = every.split([1, mean.numel(), mean.numel()], 1)
        total = int(counts.sum())
        if total == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, in all processes together"
            )
        mean = (counts * means).sum(0) / max(total, 1)
        var = (squares + counts * (means - mean).square()).sum(0) / max(total, 1)
        measured = torch.stack((mean, var), 1).to(torch.promote_types(x.dtype, torch.float32))
    stats: Tensor = _Synchronised.apply(measured, max(total, 1), group, *parts)
    return stats, total


def _exchanged(mine: Tensor, group: Group) -> Tensor:
    """Every process's, by rank."""
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, mine, group)
    return torch.stack(every)


class _Sum(torch.autograd.Function):
    """Over the processes, which all have the sum; and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _exchanged(mine.double().contiguous(), group).sum(0).to(mine.dtype)

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(of_sum, ctx.group), None


class _Synchronised(torch.autograd.Function):
    """What was measured, as a function of this process's share: ∂mean/∂x = 1/n, ∂var/∂x = 2(x − mean)/n."""

    @staticmethod
    def forward(ctx: Any, measured: Tensor, count: int, group: Group, *parts: Tensor) -> Tensor:
        ctx.count, ctx.group = count, group
        stats = measured.clone()
        ctx.save_for_backward(stats, *parts)
        return stats

    @staticmethod
    def backward(ctx: Any, of_stats: Tensor) -> tuple[Tensor | None, ...]:
        stats, *parts = ctx.saved_tensors
        channels = [part.shape[1] for part in parts]
        of_all: Tensor = _Sum.apply(of_stats, ctx.group) / ctx.count
        found: list[Tensor | None] = [None, None, None]
        for part, of_part, own in zip(parts, of_all.split(channels), stats.split(channels), strict=True):
            of_mean, of_var, mean = (t[None, :, None, None] for t in (*of_part.unbind(1), own[:, 0]))
            found.append(torch.addcmul(of_mean, part - mean, 2 * of_var).to(part.dtype))
        return tuple(found)
