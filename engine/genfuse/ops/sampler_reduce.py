"""`sampler_reduce`: the per-sample numbers that guidance rescale and dynamic threshold need before a step."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher
from genfuse.ops.sampler_step import check_table


def sampler_reduce(
    x: Tensor, model_output: Tensor, table: Tensor, index: int | Tensor, *, uncond: Tensor | None = None
) -> Tensor:
    """Guidance-rescale factor and dynamic threshold of each sample, for `sampler_step(scales=...)`.

    x, model_output, uncond   (N, ...) alike; float32, float64, bfloat16 or float16
    table   (rows, 32), columns as `genfuse_kernels.sampler_step.row.COLUMNS`
    index   the table's row, or int64 (N,): one a sample

    Returns (N, 2), float32 (float64 where x is): [:, 0] multiplies the guided output (Lin et al. 2023,
    eq. 15–16), [:, 1] is the threshold of |x0| (Saharia et al. 2022, section 2.3). Not differentiable.
    ValueError or TypeError for arguments that do not fit.
    """
    check.sample("x", x)
    check.sample("model_output", model_output)
    check.like("model_output", model_output, x)
    check.like("uncond", uncond, x)
    check_table(table, x)
    check.index("index", index, x.shape[0], table.shape[0], x)
    if needs_dispatcher(x, model_output, uncond):
        rows = index if isinstance(index, Tensor) else None
        row = 0 if isinstance(index, Tensor) else index
        scales: Tensor = torch.ops.genfuse.sampler_reduce(
            x.detach(), model_output.detach(), table, rows, row, None if uncond is None else uncond.detach()
        )
        return scales
    return _sampler_reduce(
        x, model_output, table, index if isinstance(index, Tensor) else None, index, uncond
    )


define(
    "sampler_reduce(Tensor x, Tensor model_output, Tensor table, Tensor? rows, SymInt row, Tensor? uncond) "
    "-> Tensor"
)


@torch.library.impl(LIBRARY, "sampler_reduce", "CompositeExplicitAutograd")
def _sampler_reduce(
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    rows: Tensor | None,
    row: int | Tensor,
    uncond: Tensor | None,
) -> Tensor:
    check.in_range("index", rows, table.shape[0], "a row of the table")
    scales: Tensor = _fake(x, model_output, table, rows, row, uncond)
    launch = dispatch.select("sampler_reduce", x.device, x.dtype)
    launch(scales, x, model_output, table, row if rows is None else rows, uncond=uncond)
    return scales


@fake("sampler_reduce")
def _fake(
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    rows: Tensor | None,
    row: int | Tensor,
    uncond: Tensor | None,
) -> Tensor:
    dtype = x.dtype if x.dtype == torch.float64 else torch.float32
    return torch.empty((x.shape[0], 2), dtype=dtype, device=x.device)
