"""`Sampler`: one solver on one grid, a step at a time, for those who embed it in a loop of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.ops import check, philox_normal, sampler_step, sampler_step_
from genfuse.samplers.combination import NOISE, X
from genfuse.samplers.edm import EDM
from genfuse.samplers.grid import Grid
from genfuse.samplers.levels import FlowLevels, Levels, ScheduleLevels
from genfuse.samplers.prediction import Prediction, PredictionType
from genfuse.samplers.registry import solver
from genfuse.samplers.schedule import SCHEDULES, NoiseSchedule, noise_schedule
from genfuse.samplers.stepper import DeviceRows, Stepper
from genfuse.samplers.table import NO_CLIP, Clip, TableBuilder
from genfuse_kernels.philox_normal.spec import STREAM_FORWARD, STREAM_INIT
from genfuse_kernels.sampler_step.row import COLUMN

SeedLike = SupportsIndex | Sequence[SupportsIndex] | NDArray[np.integer[Any]] | Tensor | None
ScheduleLike = str | NoiseSchedule | EDM | None
ClipLike = None | float | tuple[float, float] | Clip
MOST_ELEMENTS = 2**59
"""Of a sample tensor: PyTorch counts its bytes in an int64."""


class Sampler:
    """A solver as a table of coefficients, and one kernel call a step.

    name        a solver: `genfuse.samplers.names()` lists them
    steps       intervals of the grid, 1 to the schedule's length
    schedule    a `NoiseSchedule` or one of its names ("linear" where None), "flow", an `EDM` or "edm"
    prediction  what the network returns: "epsilon", "v_prediction", "sample" or "flow_prediction"; with EDM
                one of the first two, which say the sign of its preconditioning
    clip        None; c: x0 is kept in [−c, c]; (low, high); or a `Clip` (dynamic threshold)
    guidance    classifier-free guidance scale (Ho & Salimans 2022), used where `uncond` is given
    guidance_rescale  φ in [0, 1] (Lin et al. 2024, section 3.4)
    spacing     "trailing", "linspace" or "leading"; or pass `timesteps` (descending) or `sigmas`: a kind
                ("karras", "exponential", "beta", "lu") or levels from high to the last (n + 1,); EDM has
                sigmas alone
    strength    in (0, 1]: the last share of the grid that is run, for starting from a picture
    seeds       (N,) seeds of the noise, ints, an integer array or an int64 tensor; an int s stands for s,
                s+1, ...; None: each run draws its own from torch's generator
    options     the solver's own (`eta`, `order`, ...)

    The sample is held in the network's own scale (variance preserving, or flow's), so the network is given it
    as it is; EDM's is x0 + sigma·noise, and its network is given `input_scale`·x. ValueError or TypeError for
    anything that does not fit, naming it.
    """

    def __init__(
        self,
        name: str = "dpmpp_2m",
        steps: int = 20,
        *,
        schedule: ScheduleLike = None,
        prediction: PredictionType | None = None,
        clip: ClipLike = None,
        guidance: float = 1.0,
        guidance_rescale: float = 0.0,
        spacing: str | None = None,
        timesteps: Sequence[float] | NDArray[np.float64] | None = None,
        sigmas: str | Sequence[float] | NDArray[np.float64] | None = None,
        strength: float = 1.0,
        seeds: SeedLike = None,
        **options: Any,
    ) -> None:
        scale, rescale = (
            check.as_float("guidance", guidance),
            check.as_float("guidance_rescale", guidance_rescale),
        )
        chosen = solver(name)
        self.levels = as_levels(schedule)
        predicts = self.levels.prediction if prediction is None else prediction
        whole = self.levels.grid(steps, spacing=spacing, timesteps=timesteps, sigmas=sigmas)
        self.grid = _last_part(whole, check.as_float("strength", strength))
        self.table = chosen.table(self.grid, predicts, self.levels, clip=as_clip(clip), **options)
        self.table = self.table.with_guidance(scale, rescale)
        alpha, sigma = self._row_levels()
        self.table = self.levels.scaled(self.table, sigma)
        self.timesteps = torch.from_numpy(self.table.timesteps)
        """(rows,) float64: the time the network is given before each row (some solvers have two a step)."""
        self.input_scale: list[float] = self.table.input_scale.tolist()
        """(rows,) what the sample is multiplied by before the network sees it."""
        self.guided = bool((self.table.rows[:, COLUMN["guidance"]] != 1).any())
        """Whether a step mixes in the output without the condition."""
        self.learned_variance = bool(self.table.rows[:, COLUMN["log_std_v"]].any())
        """Whether a step needs the network's log-variance."""
        self.reduces = bool((self.table.rows[:, [COLUMN["rescale"], COLUMN["quantile"]]] != 0).any())
        """Whether a step rescales the output or thresholds, by a reduction of each sample."""
        self._stochastic = self.table.stochastic
        self._stepper = Stepper(self.table)
        self._given_seeds = seeds
        self._run_seeds: Tensor | None = None
        self.forward_rows = forward_rows(alpha, sigma)
        """(rows, columns) float64: what `add_noise` runs, a row a level."""
        self._forward = DeviceRows(self.forward_rows)

    def __len__(self) -> int:
        """Model calls of a whole run."""
        return len(self.table)

    def reset(self, seeds: SeedLike = None) -> None:
        """Start anew: forget the stored outputs, and take other seeds where given."""
        self._stepper.reset()
        self._stepper.seeds = self._run_seeds = None
        if seeds is not None:
            self._given_seeds = seeds

    def start(
        self,
        shape: Sequence[int],
        seeds: SeedLike = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The noise that a run starts from, (N, ...), by each sample's seed: the run's, or those given."""
        shape, device = as_shape(shape), check.device("device", device)
        chosen = self.batch_seeds(shape[0], device) if seeds is None else as_seeds(seeds, shape[0], device)
        noise = philox_normal(chosen, shape, stream=STREAM_INIT, dtype=dtype)
        scale = self.table.init_scale
        return noise if scale == 1 else noise.mul_(scale)

    def step(
        self,
        model_output: Tensor,
        i: int,
        x: Tensor,
        out: Tensor | None = None,
        *,
        uncond: Tensor | None = None,
        variance: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The sample after row i, from the sample x before it and the network's output there.

        model_output, x, uncond, variance, noise   (N, ...) alike
        out   where to write; x itself for a loop that allocates nothing

        Rows go in order, 0 to len(self) − 1. Errors as `genfuse.ops.sampler_step`.
        """
        stepper = self._stepper
        if stepper.seeds is None and self._stochastic:
            check.sample("x", x)
            check.valued("x", x)
            stepper.seeds = self.batch_seeds(x.shape[0], x.device)
        return stepper.step(i, x, model_output, uncond=uncond, variance=variance, noise=noise, out=out)

    def add_noise(
        self, x0: Tensor, i: int | Tensor, seeds: SeedLike = None, out: Tensor | None = None
    ) -> Tensor:
        """The forward process: x0 with the noise of row i's level (int, or int64 (N,): one a sample).

        out  like x0, where to write, without a gradient; ValueError or TypeError, naming it, for what does not fit
        """
        check.sample("x0", x0)
        check.valued("x0", x0)
        batch, device = x0.shape[0], x0.device
        check.index("i", i, batch, len(self), x0)
        if isinstance(i, Tensor) and not torch.compiler.is_compiling():
            check.in_range("i", i, len(self), "a row of the table")
        chosen = self.batch_seeds(batch, device) if seeds is None else as_seeds(seeds, batch, device)
        rows = self._forward.beside(x0)
        if out is None:
            noisy: Tensor = sampler_step(x0, None, rows, i, seeds=chosen, stream=STREAM_FORWARD)
            return noisy
        sampler_step_(x0, None, rows, i, out=out, seeds=chosen, stream=STREAM_FORWARD)
        return out

    def batch_seeds(self, batch: int, device: torch.device) -> Tensor:
        """The run's seeds, int64 (N,): those given, or drawn at the first use after a reset."""
        kept = self._run_seeds
        if kept is None or len(kept) != batch or kept.device != device:
            given = self._given_seeds
            if given is None:
                given = torch.randint(0, 2**63 - 1, (batch,), dtype=torch.int64, device="cpu")
            kept = self._run_seeds = as_seeds(given, batch, device)
        return kept

    def _row_levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(alpha, sigma), each (rows,): the noise level of the sample before each row."""
        if len(self.table) == len(self.grid):
            return self.grid.alpha[:-1], self.grid.sigma[:-1]
        return self.levels.at(self.table.timesteps)


def as_levels(schedule: ScheduleLike) -> Levels:
    """What a `schedule` argument means: a schedule, EDM, the name of one, "flow", or None for the linear one."""
    if isinstance(schedule, EDM):
        return schedule
    if schedule is None or isinstance(schedule, NoiseSchedule):
        return ScheduleLevels(schedule or noise_schedule())
    if not isinstance(schedule, str):
        raise TypeError(f"schedule is {type(schedule).__name__}, expected a name, a NoiseSchedule or an EDM")
    check_name("schedule", schedule, ("flow", "edm", *SCHEDULES))
    if schedule == "flow":
        return FlowLevels()
    return EDM() if schedule == "edm" else ScheduleLevels(noise_schedule(schedule))


def as_seeds(seeds: SeedLike, batch: int, device: torch.device) -> Tensor:
    """int64 (N,) on `device`. ValueError for another count, TypeError for another kind."""
    if isinstance(seeds, np.ndarray):
        seeds = seeds.tolist()
    if isinstance(seeds, Tensor):
        check.dense("seeds", seeds, f"({batch},)")
        check.valued("seeds", seeds)
        if seeds.dtype != torch.int64:
            raise TypeError(f"seeds has dtype {seeds.dtype}, expected torch.int64")
        given = seeds
    elif isinstance(seeds, SupportsIndex) and not isinstance(seeds, bool):
        first = index(seeds)
        if first < 2**64 < first + batch:
            raise ValueError(
                f"seeds is {first}, expected at most {2**64 - batch}: {batch} samples count up from it"
            )
        # wraps around, as seeds do
        given = torch.arange(batch, dtype=torch.int64, device="cpu") + _signed(first)
    elif isinstance(seeds, Sequence) and not isinstance(seeds, str):
        if any(isinstance(seed, bool) or not hasattr(seed, "__index__") for seed in seeds):
            raise TypeError(f"seeds is {seeds!r}, expected ints")
        given = torch.tensor([_signed(index(seed)) for seed in seeds], dtype=torch.int64, device="cpu")
    else:
        raise TypeError(
            f"seeds is {type(seeds).__name__}, expected an int, ints, or an int64 tensor ({batch},)"
        )
    if tuple(given.shape) != (batch,):
        raise ValueError(f"seeds has shape {tuple(given.shape)}, expected ({batch},): one seed a sample")
    return given.to(device)


def as_shape(shape: Any) -> tuple[int, ...]:
    """(N, ...) of ints, Python's or numpy's, with no negative size and as many elements as a tensor can have."""
    if not isinstance(shape, Sequence) or any(
        isinstance(size, bool) or not isinstance(size, int | np.integer) for size in shape
    ):
        raise TypeError(f"shape is {shape!r}, expected ints (N, ...)")
    sizes = tuple(size if isinstance(size, int) else index(size) for size in shape)
    if len(sizes) < 1 or min(sizes) < 0:
        raise ValueError(f"shape is {sizes}, expected (N, ...) with no negative size")
    if math.prod([max(size, 1) for size in sizes]) > MOST_ELEMENTS:
        raise ValueError(f"shape is {sizes}, expected at most 2**59 elements")
    return sizes


def _signed(seed: int) -> int:
    """The int64 with the same 64 bits."""
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {seed}, expected 64 bits: -2**63 to 2**64 - 1")
    return seed - 2**64 if seed >= 2**63 else seed


def as_clip(clip: ClipLike) -> Clip:
    """The range or threshold that a clip argument means."""
    if clip is None:
        return NO_CLIP
    if isinstance(clip, Clip):
        if not (clip.minimum < clip.maximum and 0 <= clip.quantile <= 1 and clip.threshold_max >= 1):
            raise ValueError(
                f"clip is {clip!r}, expected minimum < maximum, quantile in [0, 1] and threshold_max >= 1"
            )
        return clip
    ends = clip if isinstance(clip, tuple) else (clip, clip)
    if len(ends) != 2 or not all(isinstance(end, Real) and not isinstance(end, bool) for end in ends):
        raise TypeError(f"clip is {clip!r}, expected None, a number, (low, high) or a Clip")
    low, high = (check.as_float("clip", end) for end in ends)
    if not isinstance(clip, tuple):
        low = -high
    if not low < high:
        raise ValueError(f"clip is {clip!r}, expected a positive number or (low, high) with low < high")
    return Clip(minimum=low, maximum=high)


def _last_part(grid: Grid, strength: float) -> Grid:
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}, expected more than 0 and at most 1")
    first = len(grid) - max(1, int(len(grid) * strength))
    return Grid(grid.timesteps[first:], grid.alpha[first:], grid.sigma[first:])


def forward_rows(alpha: NDArray[np.float64], sigma: NDArray[np.float64]) -> Tensor:
    """Rows that add the noise of each level: x_t = alpha·x0 + sigma·noise."""
    builder = TableBuilder()
    nothing = Prediction(x0=X * 0.0, epsilon=X * 0.0)
    for a, s in zip(alpha, sigma, strict=True):
        builder.row(0.0, nothing, X * a + NOISE * s)
    return builder.build().rows
