"""`sample`: the loop from noise (or a picture) to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import check
from genfuse.samplers.prediction import PredictionType
from genfuse.samplers.sampler import ClipLike, Sampler, ScheduleLike, SeedLike, as_shape

Model = Callable[..., Tensor]
Callback = Callable[[int, float, Tensor], None]


@torch.no_grad()
def sample(
    model: Model,
    shape: Sequence[int],
    *,
    sampler: str | Sampler = "dpmpp_2m",
    steps: int = 20,
    seeds: SeedLike = None,
    schedule: ScheduleLike = None,
    prediction: PredictionType | None = None,
    guidance: float | None = None,
    cond: dict[str, Any] | None = None,
    uncond: dict[str, Any] | None = None,
    clip: ClipLike = None,
    callback: Callback | None = None,
    return_trajectory: bool = False,
    init: Tensor | None = None,
    strength: float = 1.0,
    mask: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Tensor | tuple[Tensor, list[Tensor]]:
    """Sample from a diffusion model.

    model     model(x, t, **cond) → like x; t is float (N,). With a sampler of learned variance it returns
              twice the channels, (N, 2C, ...): output and log-variance
    shape     (N, ...) of the samples
    sampler   a solver's name, or a `Sampler` (which then says steps, schedule, prediction, guidance and clip)
    seeds     one a sample: an int s stands for s, s+1, ...; a sample depends on its own seed alone
    guidance  scale w: model output = uncond + w·(cond − uncond); None or 1: one model call a row, not two
    cond, uncond  keyword arguments of the model with and without the condition; uncond None: none at all.
              uncond needs guidance, the call's or the `Sampler`'s
    callback  callback(row, t, x) after every row; x is the live buffer: copy it to keep it
    return_trajectory  also return the sample after every row, cloned
    init      (N, ...) a picture to start from, at the share `strength` in (0, 1] of the noise
    mask      broadcastable to shape, 1 where to paint and 0 where `init` stays
    dtype, device  of the sample; `init`'s own where it is given
    progress  show a bar

    Returns the samples, or (samples, trajectory). Runs without gradient. Beside the model a step is one
    kernel (two with threshold or rescale; a copy into a kept buffer where the network's input is scaled, and two
    more kernels with a mask), no synchronisation, and nothing allocated. ValueError or TypeError
    before the model is first called for anything that does not fit. The loop goes into one graph of
    torch.compile(fullgraph=True) where `sampler` is a `Sampler`: a name's table is built in Python.
    """
    run = runner(sampler, steps, schedule, prediction, guidance, clip, strength, seeds)
    check_arguments(model, cond, uncond, callback)
    shape = as_shape(shape)
    check_guidance(sampler, guidance, uncond)
    if init is not None:
        check.sample("init", init)
        check.valued("init", init)
        if tuple(init.shape) != shape:
            raise ValueError(f"init has shape {tuple(init.shape)}, expected shape {shape}")
        dtype, device = init.dtype, init.device
    elif mask is not None or strength != 1:
        raise ValueError(
            f"{'strength' if mask is None else 'mask'} is given without init, expected a picture"
        )
    device = check.device("device", device or "cpu")
    keep = None if mask is None else kept(mask, shape, device)

    scaled = any(scale != 1 for scale in run.input_scale)
    x = run.start(shape, dtype=dtype, device=device) if init is None else run.add_noise(init, 0)
    time_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    times = run.timesteps.to(device, time_dtype)[:, None].expand(-1, shape[0])
    buffer = torch.empty_like(x) if scaled or keep is not None else x
    trajectory: list[Tensor] = []
    for i, t in enumerate(_tracked(times, progress)):
        seen = torch.mul(x, run.input_scale[i], out=buffer) if scaled else x
        output, variance = split(model(seen, t, **(cond or {})), x, run.learned_variance)
        free = None
        if run.guided:
            free, _ = split(model(seen, t, **(uncond or {})), x, run.learned_variance)
        x = run.step(output, i, x, out=x, uncond=free, variance=variance)
        if keep is not None and init is not None:
            known = run.add_noise(init, i + 1, out=buffer) if i + 1 < len(run) else init
            torch.where(keep, known, x, out=x)
        if return_trajectory:
            trajectory.append(x.clone())
        if callback is not None:
            callback(i, float(run.timesteps[i]), x)
    return (x, trajectory) if return_trajectory else x


def runner(
    sampler: str | Sampler,
    steps: int,
    schedule: ScheduleLike,
    prediction: PredictionType | None,
    guidance: float | None,
    clip: ClipLike,
    strength: float,
    seeds: SeedLike,
) -> Sampler:
    """A fresh run of the sampler that the arguments name or give."""
    if isinstance(sampler, Sampler):
        given = [
            name
            for name, value in (
                ("schedule", schedule),
                ("prediction", prediction),
                ("guidance", guidance),
                ("clip", clip),
            )
            if value is not None
        ]
        if given or strength != 1:
            raise ValueError(
                f"{(given or ['strength'])[0]} is given beside a Sampler, which has its own; set it there"
            )
        sampler.reset(seeds)
        return sampler
    if torch.compiler.is_compiling():
        raise ValueError(
            f"sampler is {sampler!r}, whose table cannot be built inside a graph of torch.compile: make a "
            "genfuse.Sampler outside and pass that"
        )
    return Sampler(
        sampler,
        steps,
        schedule=schedule,
        prediction=prediction,
        clip=clip,
        guidance=1.0 if guidance is None else guidance,
        strength=strength,
        seeds=seeds,
    )


def check_arguments(model: Any, cond: Any, uncond: Any, callback: Any) -> None:
    """TypeError for what is not called, or has no names."""
    if not callable(model):
        raise TypeError(f"model is {type(model).__name__}, expected a callable model(x, t, **cond)")
    for name, value in (("cond", cond), ("uncond", uncond)):
        if value is not None and not isinstance(value, dict):
            raise TypeError(
                f"{name} is {type(value).__name__}, expected a dict of the model's keyword arguments"
            )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {type(callback).__name__}, expected a callable callback(row, t, x)")


def check_guidance(sampler: str | Sampler, guidance: float | None, uncond: Any) -> None:
    """ValueError for a condition to be left out without a scale; a `Sampler` has its own."""
    if uncond is not None and guidance is None and not isinstance(sampler, Sampler):
        raise ValueError("uncond is given without guidance, expected its scale: pass guidance (1: none)")


def split(output: Any, x: Tensor, learned: bool) -> tuple[Tensor, Tensor | None]:
    """What the network returned, as output and log-variance where it returns both along the channels."""
    if not isinstance(output, Tensor):
        raise TypeError(f"model returned {type(output).__name__}, expected a tensor like x {tuple(x.shape)}")
    check.dense("what model returned", output, f"like x {tuple(x.shape)}")
    expected = (x.shape[0], 2 * x.shape[1], *x.shape[2:]) if learned else tuple(x.shape)
    if tuple(output.shape) != expected:
        why = "x's channels twice, output and log-variance" if learned else "as x"
        raise ValueError(f"model returned shape {tuple(output.shape)}, expected {expected}: {why}")
    if output.dtype != x.dtype:
        raise TypeError(
            f"model returned dtype {output.dtype}, expected {x.dtype} as x; pass dtype= or cast in the model"
        )
    if not learned:
        return _apart(output, x), None
    half, variance = output.chunk(2, dim=1)
    return half, variance


def _apart(output: Tensor, x: Tensor) -> Tensor:
    """The output, copied where it is a view of x, which the step overwrites; a graph does so by itself."""
    if torch.compiler.is_compiling():
        return output
    same = output.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return output.clone() if same else output


def kept(mask: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Where the picture stays, as bool of the samples' shape."""
    check.dense("mask", mask, f"that broadcasts to {shape}")
    check.valued("mask", mask)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            "mask has values between or beyond 0 and 1, expected 1 where to paint and 0 elsewhere"
        )
    try:
        return (mask.to(device) == 0).broadcast_to(shape)
    except RuntimeError as error:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}, expected one that broadcasts to {shape}"
        ) from error


def _tracked(times: Tensor, progress: bool) -> Iterable[Tensor]:
    """The rows' times, behind a bar where one is asked for."""
    if not progress:
        return times.unbind()
    from rich.progress import track

    return track(times.unbind(), description="sampling")
