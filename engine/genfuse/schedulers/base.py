"""What every scheduler shares: diffusers' interface around a table, a stepper and a count on the host."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.ops import sampler_reduce, sampler_step
from genfuse.samplers.forward import Forward
from genfuse.samplers.grid import Grid
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.stepper import Stepper
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.schedulers.config import Configured, FrozenConfig
from genfuse.schedulers.mixin import DiffusersMixin
from genfuse.schedulers.output import SchedulerOutput, deferred
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.row import COLUMN, TERMS, S, Y

Generators = torch.Generator | Sequence[torch.Generator]
Timestep = float | Tensor

COMPATIBLE = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "EDMEulerScheduler",
]


@dataclass(eq=False)
class Run:
    """A table being stepped through, for one choice of step()'s options."""

    options: tuple[Any, ...]
    stepper: Stepper
    draws: list[bool]
    """For each row, whether diffusers draws noise there."""
    keeps: list[bool]
    """For each row, whether the row after it needs that noise again."""
    begin: int = 0
    """The first row that is not empty."""
    original: Tensor | None = None
    """The same rows with the predicted x0 in place of the next sample, made when first asked for."""
    noise_prev: Tensor | None = field(default=None, repr=False)


class Scheduler(Configured, DiffusersMixin):
    """A diffusers scheduler over genfuse's tables.

    A subclass registers its constructor's arguments (`register_to_config`), calls `_set_schedule` and
    `_set_nodes` there, calls `_set_nodes` in `set_timesteps`, and gives `_table`; its `step` has diffusers'
    signature and calls `_step`. What diffusers' classes show of their solvers' insides (convert_model_output,
    model_outputs, lower_order_nums, the update formulas) has no counterpart: there is a table instead, so the
    pipelines that read those (LEDITS++) do not run on these classes. Where model_output and sample are of two
    dtypes every class gives the wider of the two; diffusers' give that or one argument's, each by its own rule.

    timesteps   (n,) what the model is given, one a call of step; on the device of set_timesteps
    sigmas      (n + 1,) float32 on the CPU, in the classes where diffusers has them
    """

    order: ClassVar[int] = 1
    _compatibles: ClassVar[list[str]] = COMPATIBLE
    has_compatibles: ClassVar[bool] = True
    _gives_original: ClassVar[bool] = True
    """Whether diffusers' class returns pred_original_sample beside prev_sample."""
    _one_step: ClassVar[bool] = False
    """Whether any row may be stepped at any time, with no history."""

    init_noise_sigma: float = 1.0
    num_inference_steps: int | None = None
    is_scale_input_called: bool = False
    timesteps: Tensor
    sigmas: Tensor
    _runs: dict[tuple[int, tuple[Any, ...]], Run]
    """By first row and options; kept as long as nodes and config are the same: a table takes milliseconds."""
    _nodes_of_runs: tuple[object, ...] = ()
    _config_of_runs: FrozenConfig | None = None

    # --- what a subclass calls and gives ---

    def _set_schedule(self, schedule: NoiseSchedule) -> None:
        """Keep the noise schedule and the tensors (T,) float32 that diffusers' users read."""
        self._schedule = schedule
        alphas = schedule.alphas_cumprod / np.append(1.0, schedule.alphas_cumprod[:-1])
        self.alphas_cumprod = torch.from_numpy(schedule.alphas_cumprod).float()
        self.alphas = torch.from_numpy(alphas).float()
        self.betas = torch.from_numpy(1 - alphas).float()
        self._forward: Forward | None = None
        self._velocity: Forward | None = None

    def _set_nodes(
        self,
        grid: Grid,
        timesteps: NDArray[Any],
        *,
        sigmas: NDArray[np.float64] | None = None,
        input_scale: NDArray[np.float64] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Start anew on these nodes.

        grid         what `_table` steps over
        timesteps    (R,) one a row, in the dtype that diffusers' class has
        sigmas       what `self.sigmas` shows
        input_scale  (R,) what scale_model_input multiplies by; None: nothing
        """
        scale = None if input_scale is None else input_scale.tolist()
        nodes = (timesteps.tolist(), grid.alpha.tolist(), grid.sigma.tolist(), scale)
        if nodes != self._nodes_of_runs or self._config_of_runs is not self.config:
            self._nodes_of_runs, self._config_of_runs, self._runs = nodes, self.config, {}
        self._grid = grid
        self._without_signal = int(np.count_nonzero(grid.alpha[:-1] == 0))
        self.timesteps = self._own_timesteps = torch.from_numpy(timesteps.copy()).to(device)
        self._values: list[float] = self._own_timesteps.tolist()
        self._input_scale = scale
        if sigmas is not None:
            self.sigmas = torch.from_numpy(sigmas).float()
            self._forward = self._velocity = None
        self._run: Run | None = None
        self._step_index: int | None = None
        self._begin_index: int | None = None
        self._first = 0
        self._seeds: Tensor | None = None

    def _table(self, begin: int, *options: Any) -> Table:
        """The table from row `begin` on; `options` as the class' step passed them."""
        raise NotImplementedError

    def _draw_rows(self, table: Table) -> list[bool]:
        """For each row, whether diffusers draws noise there: by default where it has a coefficient."""
        noise: list[bool] = (table.rows[:, [COLUMN["y_noise"], COLUMN["s_noise"]]] != 0).any(1).tolist()
        return noise

    def _noise_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """In which dtype diffusers draws a generator's noise for model outputs of `dtype`."""
        return dtype

    def _original_rows(self, table: Table, *options: Any) -> Tensor:
        """(R, 32): the rows with y the predicted x0 and nothing stored."""
        rows = table.rows.clone()
        rows[:, Y : Y + len(TERMS)] = rows[:, S : S + len(TERMS)] = 0
        rows[:, COLUMN["y_x0"]], rows[:, COLUMN["store"]] = 1, -1
        return rows

    def _clip(self) -> Clip:
        """clip_sample and thresholding as the configuration has them; NO_CLIP where it has neither."""
        config = self.config
        if config.get("thresholding"):
            return Clip(quantile=config.dynamic_thresholding_ratio, threshold_max=config.sample_max_value)
        if config.get("clip_sample"):
            return Clip(-config.clip_sample_range, config.clip_sample_range)
        return NO_CLIP

    # --- diffusers' interface ---

    @property
    def step_index(self) -> int | None:
        """Row that the next step takes; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Row that the first step takes, where set_begin_index was called."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at a row in the middle, as image-to-image does. ValueError outside the timesteps."""
        if not 0 <= begin_index < len(self._values):
            raise ValueError(f"begin_index is {begin_index}, expected 0 to {len(self._values) - 1}")
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: Timestep, schedule_timesteps: Tensor | None = None) -> int:
        """The row of a timestep by its value, in `timesteps` or in those given (n,)."""
        values = self._values if schedule_timesteps is None else schedule_timesteps.tolist()
        return _row_of(float(timestep), values)

    def previous_timestep(self, timestep: Timestep) -> int | Tensor:
        """The timestep after this one on the way to the data; −1 after the last."""
        if self.num_inference_steps is None:
            return int(timestep) - 1
        row = self._values.index(float(timestep)) + 1
        return self.timesteps[row] if row < len(self._values) else torch.tensor(-1, device="cpu")

    @property
    def compatibles(self) -> list[type[Scheduler]]:
        """genfuse's classes that read this one's configuration."""
        return self._get_compatibles()

    @classmethod
    def _get_compatibles(cls) -> list[type[Scheduler]]:
        schedulers = importlib.import_module("genfuse.schedulers")
        names = {cls.__name__, *cls._compatibles}
        return [getattr(schedulers, name) for name in schedulers.__all__ if name in names]

    def __len__(self) -> int:
        return len(self._schedule)

    def scale_model_input(self, sample: Tensor, timestep: Timestep | None = None) -> Tensor:
        """The sample as the model sees it: scaled to unit variance where the class keeps it larger."""
        if self._input_scale is None:
            return sample
        if timestep is None:
            raise TypeError(
                f"timestep is None, expected one of timesteps: {type(self).__name__} scales by it"
            )
        self._step_index = self._due(timestep)
        self.is_scale_input_called = True
        scaled: Tensor = sample * self._input_scale[self._step_index]
        return scaled

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """original_samples (N, ...) noised to timesteps (N,), a fused row a sample; noise is like them."""
        if self._forward is None:
            self._forward = self._make_forward()
        return self._forward.noise(original_samples, noise, self._levels(timesteps, original_samples))

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """sqrt(alphas_cumprod)·noise − sqrt(1 − alphas_cumprod)·sample at timesteps (N,)."""
        if self._velocity is None:
            alphas_cumprod = self._schedule.alphas_cumprod
            self._velocity = Forward(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod))
        return self._velocity.velocity(sample, noise, self._training_levels(timesteps, sample))

    def _make_forward(self) -> Forward:
        """Noise levels of `add_noise`, in the order of `_levels`."""
        alphas_cumprod = self._schedule.alphas_cumprod
        return Forward(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod))

    def _levels(self, timesteps: Tensor, sample: Tensor) -> Tensor:
        """int64 (N,) rows of `_make_forward` for the timesteps: the training time itself."""
        return self._training_levels(timesteps, sample)

    def _training_levels(self, timesteps: Tensor, sample: Tensor) -> Tensor:
        levels = torch.as_tensor(timesteps, device=sample.device)
        if levels.numel() not in (1, sample.shape[0]):
            raise ValueError(
                f"timesteps has shape {tuple(levels.shape)}, expected ({sample.shape[0]},) or one"
            )
        return levels.to(torch.int64).reshape(-1).expand(sample.shape[0]).contiguous()

    # --- one step ---

    def _step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        *,
        generator: Generators | None = None,
        noise: Tensor | None = None,
        variance: Tensor | None = None,
        options: tuple[Any, ...] = (),
    ) -> SchedulerOutput:
        """One row of the table for these options.

        noise, or what generator draws (as diffusers draws it), is the row's noise; without either it comes
        from seeds drawn from PyTorch's default generator, once a trajectory and whenever it goes back to an
        earlier row. The device is never read, except for a timestep that is neither a number nor an element of
        `self.timesteps`.
        """
        check_tensors(model_output, sample)
        if model_output.dtype != sample.dtype:
            dtype = torch.promote_types(model_output.dtype, sample.dtype)
            model_output, sample = model_output.to(dtype), sample.to(dtype)
        i = self._due(timestep)
        run = self._run
        if run is None or run.options != options or i < run.begin:
            run = self._start(i, options)
        noise_prev = run.noise_prev
        if run.draws[i]:
            if noise is None and generator is not None:
                noise = torch_noise(model_output, generator, self._noise_dtype(model_output.dtype))
            elif noise is None:
                run.stepper.seeds = self._sample_seeds(sample)
        run.noise_prev = noise if run.keeps[i] else None
        prev_sample = run.stepper.step(
            i, sample, model_output, variance=variance, noise=noise, noise_prev=noise_prev
        )
        self._step_index = i + 1
        if not self._gives_original:
            return SchedulerOutput(prev_sample)
        original = partial(self._original, run, i, sample, model_output, noise, run.stepper.seeds)
        return SchedulerOutput(prev_sample, deferred(original, sample, model_output, noise))

    def _due(self, timestep: Timestep) -> int:
        """The row of a timestep: the next in order, or where it says otherwise and that is allowed."""
        if isinstance(timestep, Tensor) and torch.compiler.is_compiling():
            return self._row_in_graph()
        due = self._step_index
        if due is None:
            if self.num_inference_steps is None:
                raise ValueError(
                    f"call set_timesteps before step: {type(self).__name__} has no timesteps to step over"
                )
            self._first = self._find(timestep) if self._begin_index is None else self._begin_index
            return self._first
        if isinstance(timestep, Tensor):
            position = self._position(timestep)
            if position is None and timestep.device.type != "cpu":
                position = due  # reading it would wait for the device; the count on the host is as good
        else:
            position = None
        if position is None and due < len(self._values) and self._values[due] == timestep:
            return due
        position = self._find(timestep) if position is None else position
        if position == due and due < len(self._values):
            return due
        if position != self._first and not self._one_step:
            expected = (
                f"{self._values[due]:g}"
                if due < len(self._values)
                else "set_timesteps: the last step is done"
            )
            raise ValueError(
                f"timestep is {self._values[position]:g}, expected {expected}; {type(self).__name__} "
                "keeps earlier outputs and steps in order"
            )
        if position == self._first:
            self._run = None
        if position < due:  # rows that were taken, perhaps: their noise is another one now
            self._seeds = None
        return position

    def _row_in_graph(self) -> int:
        """Under torch.compile a tensor has neither value nor address: rows go in order from begin_index."""
        due = self._step_index
        if due is not None and due < len(self._values):
            return due
        if self._begin_index is None:
            raise ValueError(
                "timestep is a tensor that torch.compile cannot read: call set_begin_index first (0 for a "
                "whole run), or pass numbers (scheduler.timesteps.tolist())"
            )
        self._first, self._run, self._seeds = self._begin_index, None, None
        return self._first

    def _position(self, timestep: Tensor) -> int | None:
        """The row of an element of `self.timesteps` itself, by its address: the device need not be read."""
        own = self._own_timesteps
        row, rest = divmod(timestep.data_ptr() - own.data_ptr(), own.element_size())
        inside = 0 <= row < len(self._values) and rest == 0 and timestep.numel() == 1
        return row if inside and timestep.dtype == own.dtype else None

    def _find(self, timestep: Timestep) -> int:
        """The row of a timestep: by its address, or by value."""
        if isinstance(timestep, Tensor):
            position = self._position(timestep)
            if position is not None:
                return position
            if timestep.numel() != 1:
                raise ValueError(
                    f"timestep has shape {tuple(timestep.shape)}, expected one timestep for the whole batch"
                )
            timestep = timestep.item()
        return _row_of(timestep, self._values)

    def _start(self, row: int, options: tuple[Any, ...]) -> Run:
        """The run for these options, from `row` on where the solver keeps a history.

        Without one it has every row, but those of nodes without signal only where it starts there: epsilon
        prediction has none.
        """
        begin = min(row, self._without_signal) if self._one_step else row
        run = self._runs.get((begin, options))
        if run is None:
            if torch.compiler.is_compiling():
                raise ValueError(
                    "the table of coefficients is not built yet, which torch.compile cannot do: take one step "
                    "outside the graph first, with the same timesteps, begin index and options"
                )
            table = self._table(begin, *options)
            again = (table.rows[:, [COLUMN["y_noise_prev"], COLUMN["s_noise_prev"]]] != 0).any(1).tolist()
            run = Run(options, Stepper(table), self._draw_rows(table), [*again[1:], False], begin)
            self._runs[begin, options] = run
        run.stepper.reset()
        run.stepper.seeds = run.noise_prev = None
        self._run = run
        return run

    def _sample_seeds(self, sample: Tensor) -> Tensor:
        """(N,) one seed a sample, drawn anew where the rows did not go on: torch.manual_seed decides them."""
        seeds = self._seeds
        if seeds is None or len(seeds) != sample.shape[0] or seeds.device != sample.device:
            limits = torch.iinfo(torch.int64)
            drawn = torch.randint(limits.min, limits.max, sample.shape[:1], device="cpu")
            seeds = self._seeds = drawn.to(sample.device)
        return seeds

    def _original(
        self,
        run: Run,
        i: int,
        x: Tensor,
        model_output: Tensor,
        noise: Tensor | None,
        seeds: Tensor | None,
    ) -> Tensor:
        """The predicted x0 of a step that was taken, with the noise or the seeds that it had."""
        if run.original is None:
            run.original = self._original_rows(run.stepper.table, *run.options)
        rows = run.original[i : i + 1].to(x.device)
        scales = (
            sampler_reduce(x, model_output, rows, 0) if bool(run.original[i, COLUMN["quantile"]]) else None
        )
        if noise is None and bool(run.original[i, COLUMN["y_noise"]]):
            rows = run.original.to(x.device)
            return sampler_step(x, model_output, rows, i, seeds=seeds, stream=STREAM_STEP)
        return sampler_step(x, model_output, rows, 0, noise=noise, scales=scales)


def check_tensors(model_output: Tensor, sample: Tensor) -> None:
    """TypeError, naming the argument, for what is no tensor."""
    for name, value in (("model_output", model_output), ("sample", sample)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is {type(value).__name__}, expected a tensor (N, ...)")


def _row_of(timestep: float, values: list[float]) -> int:
    """Where a timestep is by its value: the second place where it comes more than once, as in diffusers.

    There a run that starts in the middle of a solver of two calls finds its step. An element of `timesteps`
    itself is found where it lies (`_position`), which diffusers does not: where the first two coincide, it
    skips the first row unless set_begin_index(0) says otherwise.
    """
    rows = [row for row, value in enumerate(values) if value == timestep]
    if not rows:
        near = min(values, key=lambda value: abs(value - timestep))
        raise ValueError(
            f"timestep is {timestep:g}, expected one of scheduler.timesteps; the nearest is {near:g}"
        )
    return rows[min(1, len(rows) - 1)]


def torch_noise(like: Tensor, generator: Generators, dtype: torch.dtype) -> Tensor:
    """Standard normal noise like a tensor, as diffusers draws it: on the generator's device, in `dtype`.

    generator  one for the batch, or one a sample; ValueError for another number
    """
    generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
    if len(generators) not in (1, like.shape[0]):
        raise ValueError(
            f"generator has {len(generators)} generators, expected 1 or {like.shape[0]}: one a sample"
        )
    shape = like.shape if len(generators) == 1 else (1, *like.shape[1:])
    draws = [
        torch.randn(shape, generator=g, device=g.device, dtype=dtype).to(like.device, like.dtype)
        for g in generators
    ]
    return draws[0] if len(draws) == 1 else torch.cat(draws)
