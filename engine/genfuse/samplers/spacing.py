"""Which nodes a sampler steps over: timesteps and sigmas of a noise schedule, and the grid of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genfuse.names import check_name
from genfuse.samplers.grid import Grid
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.sigmas import sigma_to_t

Array = NDArray[np.float64]
Spacing = Literal["leading", "linspace", "trailing"]
SPACINGS: tuple[Spacing, ...] = ("leading", "linspace", "trailing")
Coordinates = Literal["vp", "ve"]
Final = Literal["zero", "sigma_min"]


def spaced_timesteps(
    spacing: str, steps: int, num_train_timesteps: int, *, steps_offset: int = 0, rounded: bool = True
) -> Array:
    """(steps,) descending training times in [0, num_train_timesteps) (Lin et al. 2024, table 2).

    "leading": multiples of num_train_timesteps // steps from 0, plus steps_offset. "linspace": from the last
    time to 0, rounded to whole times where `rounded`. "trailing": from the last time down in equal strides.
    ValueError for an unknown spacing, fewer than 1 or more than num_train_timesteps steps, times that leave
    the schedule.
    """
    check_name("timestep_spacing", spacing, SPACINGS)
    check_steps(steps, num_train_timesteps)
    if spacing == "linspace":
        even: Array = np.linspace(0, num_train_timesteps - 1, steps)[::-1]
        return even.round() if rounded else even
    if spacing == "trailing":
        # arange's end is open but rounds: where it yields one node more, that node is below 0.
        stride = num_train_timesteps / steps
        times = np.arange(num_train_timesteps, 0, -stride)[:steps].round() - 1
        return np.asarray(times, dtype=np.float64)
    stride = float(num_train_timesteps // steps)
    leading = np.asarray(np.arange(steps)[::-1] * stride + steps_offset, dtype=np.float64)
    if leading[0] >= num_train_timesteps or leading[-1] < 0:
        raise ValueError(
            f"steps_offset is {steps_offset}: leading spacing of {steps} steps goes from {leading[0]:g} to "
            f"{leading[-1]:g}, expected times in [0, {num_train_timesteps})"
        )
    return leading


def check_steps(steps: int, num_train_timesteps: int, argument: str = "num_inference_steps") -> None:
    """ValueError unless 1 <= steps <= num_train_timesteps; TypeError unless it is a whole number."""
    check_whole(steps, argument)
    if not 1 <= steps <= num_train_timesteps:
        raise ValueError(
            f"{argument} is {steps}, expected 1 to {num_train_timesteps}: the schedule has no more timesteps"
        )


def check_apart(times: Array, spacing: str) -> Array:
    """Times (n,) as they are. ValueError where two are one: a solver that looks back finds no step between them."""
    values, counts = np.unique(times, return_counts=True)
    if len(values) < len(times):
        raise ValueError(
            f"num_inference_steps is {len(times)}: {spacing} spacing has the timestep "
            f"{values[counts.argmax()]:g} {counts.max()} times, expected so few steps that all differ"
        )
    return times


def check_whole(steps: int, argument: str) -> None:
    """TypeError unless it is a whole number."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise TypeError(f"{argument} is {steps!r} of type {type(steps).__name__}, expected an int")


def _numbers(name: str, values: Sequence[float] | Array) -> Array:
    """float64. TypeError, naming them, for what holds no numbers."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {values!r}, expected numbers") from None


def custom_timesteps(timesteps: Sequence[float] | Array, num_train_timesteps: int) -> Array:
    """Given times as (n,) float64. ValueError unless strictly descending within [0, num_train_timesteps)."""
    values = _numbers("timesteps", timesteps)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"timesteps has shape {values.shape}, expected (n,) with n >= 1")
    if not (values[1:] < values[:-1]).all():
        raise ValueError(f"timesteps is {values.tolist()}, expected strictly descending times")
    if not (values[-1] >= 0 and values[0] <= num_train_timesteps - 1):
        raise ValueError(
            f"timesteps goes from {values[0]:g} to {values[-1]:g}, "
            f"expected times in [0, {num_train_timesteps - 1}]"
        )
    return values


def custom_sigmas(sigmas: Sequence[float] | Array) -> Array:
    """Given noise levels as (n + 1,) float64. ValueError unless descending, finite, >= 0."""
    values = _numbers("sigmas", sigmas)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"sigmas has shape {values.shape}, expected (n + 1,) with n >= 1: the last is the final level"
        )
    if not (values[1:] < values[:-1]).all() or values[-1] < 0 or not np.isfinite(values).all():
        raise ValueError(
            f"sigmas is {values.tolist()}, expected strictly descending finite levels, the last >= 0"
        )
    return values


def interpolated_sigmas(schedule: NoiseSchedule, timesteps: Array) -> Array:
    """(n,) sigma at times in [0, T − 1], linear in sigma between whole ones; ValueError beside inf."""
    sigmas = schedule.sigmas
    values: Array = np.interp(timesteps, np.arange(len(sigmas)), sigmas)
    between = ~np.isfinite(values) & (timesteps != timesteps.round())
    if between.any():
        raise ValueError(
            f"timesteps has {timesteps[between][0]:g}, between the last two of a schedule with zero "
            "terminal SNR, where sigma is inf; use whole times, or with_finite_sigmas()"
        )
    return values


def timestep_grid(schedule: NoiseSchedule, timesteps: Array, *, final: Final = "zero") -> Grid:
    """The variance-preserving grid at training times: alpha² + sigma² = 1, the last node without noise.

    final "sigma_min" ends at the schedule's first noise level instead of none. Times between whole ones
    interpolate sigma/alpha linearly. Exact at zero terminal SNR: alpha 0, sigma 1.
    """
    low = np.floor(timesteps).astype(np.int64)
    if (low == timesteps).all():
        alphas_cumprod = schedule.alphas_cumprod[low]
    else:
        alphas_cumprod = 1 / (1 + interpolated_sigmas(schedule, timesteps) ** 2)
    last = 1.0 if check_name("final", final, ("zero", "sigma_min")) == "zero" else schedule.alphas_cumprod[0]
    alphas_cumprod = np.append(alphas_cumprod, last)
    return Grid(timesteps=timesteps, alpha=np.sqrt(alphas_cumprod), sigma=np.sqrt(1 - alphas_cumprod))


def sigma_grid(
    sigmas: Array,
    *,
    schedule: NoiseSchedule | None = None,
    timesteps: Array | None = None,
    coordinates: Coordinates = "vp",
) -> Grid:
    """The grid over noise-to-signal levels sigmas (n + 1,), the last where it ends (0: no noise).

    The model's times are `timesteps` (n,), else interpolated in the schedule's log sigmas. coordinates "vp":
    alpha² + sigma² = 1; "ve": alpha = 1, as k-diffusion and diffusers' Euler family hold the sample.
    """
    if timesteps is None:
        if schedule is None:
            raise ValueError("schedule and timesteps are both None; pass one of them")
        timesteps = sigma_to_t(sigmas[:-1], schedule.log_sigmas)
    alpha = np.ones_like(sigmas) if coordinates == "ve" else 1 / np.hypot(1, sigmas)
    return Grid(timesteps=timesteps, alpha=alpha, sigma=sigmas * alpha)
