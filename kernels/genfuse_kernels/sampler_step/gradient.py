"""The gradient of `sampler_step` in closed form: the step is linear but for clip and learned variance.

Plain PyTorch without a look at any value, so that it can be traced and differentiated again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.row import COLUMN, HISTORY_SLOTS


def sampler_step_gradient(
    grad_y: Tensor,
    grad_stored: Tensor | None,
    x: Tensor,
    model_output: Tensor | None,
    rows: Tensor,
    *,
    uncond: Tensor | None,
    variance: Tensor | None,
    slots: int,
    noise: Tensor | None,
    scales: Tensor | None,
) -> dict[str, Tensor | None]:
    """Gradients by argument name, each like x (history: (slots, *x.shape)).

    rows    (N or 1, 32): the row of each sample
    noise   the noise that the step used, given or drawn; only for the gradient of `variance`
    scales  constants of the step: no gradient goes to them
    """
    compute = x.dtype if x.dtype == torch.float64 else torch.float32
    shape = (-1, *[1] * (x.ndim - 1))

    def column(name: str) -> Tensor:
        return rows[:, COLUMN[name]].to(compute).reshape(shape)

    def scale(position: int, column_name: str) -> Tensor:
        if scales is None:
            return torch.ones_like(column(column_name))
        return torch.where(column(column_name) != 0, scales[:, position].to(compute).reshape(shape), 1.0)

    gy = grad_y.to(compute)
    gs = None if grad_stored is None else grad_stored.to(compute)

    def pull(term: str) -> Tensor:
        """What reaches a term from both outputs."""
        from_y = column(f"y_{term}") * gy
        return from_y if gs is None else from_y + column(f"s_{term}") * gs

    factor, threshold = scale(0, "rescale"), scale(1, "quantile")
    guidance = column("guidance")
    x0 = column("x0_x") * x.to(compute)
    m = None if model_output is None else model_output.to(compute)
    if uncond is not None:
        free = uncond.to(compute)
        m = factor * (free if m is None else free + guidance * (m - free))
    if m is not None:
        x0 = x0 + column("x0_m") * m
    thresholded = column("quantile") != 0
    low = torch.where(thresholded, -threshold, column("clip_min"))
    high = torch.where(thresholded, threshold, column("clip_max"))
    g0 = torch.where((x0 >= low) & (x0 <= high), pull("x0") / torch.where(thresholded, threshold, 1.0), 0.0)
    gm = pull("m") + column("x0_m") * g0
    if uncond is not None:
        gm = gm * factor

    log_std_v = column("log_std_v")
    noise_scale: Tensor | float = 1.0
    grad_variance: Tensor | None = None
    if variance is not None:
        learned = torch.exp(column("log_std") + log_std_v * variance.to(compute))
        noise_scale = torch.where(log_std_v != 0, learned, 1.0)
        if noise is not None:
            grad_variance = (pull("noise") * noise.to(compute) * noise_scale * log_std_v).to(x.dtype)
    grads: dict[str, Tensor | None] = {
        "x": (pull("x") + column("x0_x") * g0).to(x.dtype),
        "model_output": (gm if uncond is None else gm * guidance).to(x.dtype),
        "uncond": (gm * (1 - guidance)).to(x.dtype),
        "variance": grad_variance,
        "noise": (pull("noise") * noise_scale).to(x.dtype),
        "noise_prev": pull("noise_prev").to(x.dtype),
        "history": torch.stack([pull(f"h{k}").to(x.dtype) for k in range(min(slots, HISTORY_SLOTS))])
        if slots
        else None,
    }
    return grads
