"""FlowMatch{Euler,Heun}Discrete and FlowMatchLCM schedulers: diffusers' interface over `samplers.flow`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.churn import Churn
from genfuse.samplers.flow import flow_euler, flow_heun, flow_stochastic, heun_rows
from genfuse.samplers.grid import Grid
from genfuse.samplers.options import check_positive
from genfuse.samplers.sigmas import Levels, flow_shift, spaced_sigmas, stretched
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Generators, Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.nodes import NodeScheduler, reject_whole, sigma_kind
from genfuse.schedulers.output import SchedulerOutput

Array = NDArray[np.float64]


class FlowMatchScheduler(NodeScheduler):
    """x = (1 − sigma)·x0 + sigma·noise; the model is given sigma·num_train_timesteps."""

    _gives_original = False

    sigma_min: float
    sigma_max: float

    def _set_training_nodes(self, shift: float) -> None:
        """Every training time as a node until set_timesteps is called; sigma_min and sigma_max are theirs."""
        count = self.config.num_train_timesteps
        times = torch.from_numpy(np.linspace(1, count, count, dtype=np.float32)[::-1].copy())
        sigmas = times / count
        sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
        self.sigma_min, self.sigma_max = sigmas[-1].item(), sigmas[0].item()
        self._set_flow_nodes(sigmas, sigmas * count)

    def _set_flow_nodes(
        self, sigmas: Tensor, timesteps: Tensor, device: str | torch.device | None = None, last: float = 0.0
    ) -> None:
        """sigmas (n,) and timesteps (n,) float32; the level of the last node is `last`."""
        levels = torch.cat([sigmas, torch.tensor([last], device="cpu")]).double().numpy()
        grid = Grid(timesteps=timesteps.double().numpy(), alpha=1 - levels, sigma=levels)
        self._set_nodes(grid, timesteps.numpy(), sigmas=levels, device=device)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def scale_noise(self, sample: Tensor, timestep: float | Tensor, noise: Tensor | None = None) -> Tensor:
        """sigma·noise + (1 − sigma)·sample at the level of each timestep; noise is like sample (N, ...)."""
        if noise is None:
            raise ValueError("noise is None, expected a tensor like sample")
        return self.add_noise(sample, noise, torch.as_tensor(timestep, device=sample.device))


class ShiftedFlowScheduler(FlowMatchScheduler):
    """Flow nodes that are shifted towards the noise, stretched, respaced or inverted, as configured."""

    def _set_shifted_schedule(self) -> None:
        config = self.config
        sigma_kind(config)
        check_name("time_shift_type", config.time_shift_type, ("exponential", "linear"))
        self._shift = config.shift
        self._set_training_nodes(1.0 if config.use_dynamic_shifting else config.shift)

    @property
    def shift(self) -> float:
        """How far the nodes are moved towards the noise; 1: not."""
        return float(self._shift)

    def set_shift(self, shift: float) -> None:
        """Take another shift from the next set_timesteps on. ValueError unless it is more than 0."""
        check_positive("shift", shift)
        self._shift = shift

    def time_shift(self, mu: float, sigma: float, t: Levels) -> Levels:
        """Levels t in (0, 1] moved towards the noise by e^mu, or by mu where time_shift_type is "linear"."""
        scale = math.exp(mu) if self.config.time_shift_type == "exponential" else mu
        shifted: Levels = scale / (scale + (1 / t - 1) ** sigma)
        return shifted

    def stretch_shift_to_terminal(self, t: Levels) -> Levels:
        """Levels t (n,) stretched from 1 down so that the last is shift_terminal. ValueError where that is 1 now."""
        return stretched(t, self.config.shift_terminal)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Choose the nodes.

        sigmas     (n,) levels before shifting, instead of even ones
        timesteps  (n,) what the model is given, instead of sigma·num_train_timesteps
        mu         the amount of dynamic shifting, which needs it (Esser et al. 2024)
        ValueError for lengths that differ, nothing to count steps by, mu that lacks, or numbers that are not finite.
        """
        config = self.config
        if config.use_dynamic_shifting and mu is None:
            raise ValueError("mu is None, expected a number: use_dynamic_shifting is True")
        for name, numbers in (("sigmas", sigmas), ("timesteps", timesteps), ("mu", mu)):
            if numbers is not None and not np.isfinite(numbers).all():
                raise ValueError(f"{name} is {numbers}, expected finite numbers")
        lengths = [num_inference_steps, *(len(v) for v in (sigmas, timesteps) if v is not None)]
        counts = {length for length in lengths if length is not None}
        if len(counts) != 1 or min(counts) < 1:
            raise ValueError(
                f"num_inference_steps and the lengths of sigmas and timesteps are {lengths}, expected one "
                "number >= 1 that all agree on"
            )
        steps = counts.pop()
        given = None if timesteps is None else np.asarray(timesteps, dtype=np.float32)
        levels = torch.from_numpy(self._shifted(self._unshifted(steps, sigmas, given), mu, steps)).float()
        if not torch.isfinite(levels).all():
            name, value = ("mu", mu) if config.use_dynamic_shifting else ("shift", self._shift)
            raise ValueError(
                f"{name} is {value}, expected one that gives finite levels, not {levels.tolist()}"
            )
        times = levels * config.num_train_timesteps if given is None else torch.from_numpy(given)
        self.num_inference_steps = steps
        if config.invert_sigmas:
            # Levels that rise to 1 and count signal, not noise: the velocity points to the data.
            levels = 1.0 - levels
            self._set_flow_nodes(levels, levels * config.num_train_timesteps, device, last=1.0)
        else:
            self._set_flow_nodes(levels, times, device)

    def _unshifted(
        self, steps: int, sigmas: Sequence[float] | None, timesteps: NDArray[np.float32] | None
    ) -> NDArray[np.floating]:
        """(n,) levels as given, in float32, or even ones in float64."""
        if sigmas is not None:
            return np.asarray(sigmas, dtype=np.float32)
        count = self.config.num_train_timesteps
        if timesteps is not None:
            return np.asarray(timesteps / count)
        return np.asarray(np.linspace(self.sigma_max * count, self.sigma_min * count, steps) / count)

    def _shifted(self, sigmas: NDArray[np.floating], mu: float | None, steps: int) -> NDArray[np.floating]:
        if self.config.use_dynamic_shifting:
            assert mu is not None
            with np.errstate(divide="ignore"):
                sigmas = self.time_shift(mu, 1.0, sigmas)
        else:
            sigmas = flow_shift(sigmas, self._shift)  # type: ignore[arg-type]
        if self.config.shift_terminal:
            sigmas = self.stretch_shift_to_terminal(sigmas)
        kind = sigma_kind(self.config)
        if kind is None:
            return np.asarray(sigmas)
        return spaced_sigmas(kind, float(sigmas[-1]), float(sigmas[0]), steps)


class FlowMatchEulerDiscreteScheduler(ShiftedFlowScheduler):
    """Euler steps of a rectified flow (Esser et al. 2024); arguments as diffusers' class of this name.

    s_churn, s_tmin, s_tmax and s_noise change nothing, as there. per_token_timesteps is refused: a
    row has one noise level a sample.
    """

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int | None = 256,
        max_image_seq_len: int | None = 4096,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        time_shift_type: str = "exponential",
        stochastic_sampling: bool = False,
    ) -> None:
        self._set_shifted_schedule()

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generators | None = None,
        per_token_timesteps: Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The sample at the next node, from the velocity at this one. (N, ...) alike."""
        reject_whole(timestep)
        if per_token_timesteps is not None:
            raise ValueError("per_token_timesteps is given, expected None: one noise level a sample")
        return self._step(model_output, timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        return (flow_stochastic if self.config.stochastic_sampling else flow_euler)(self._grid, begin=begin)

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, the last too."""
        return [bool(self.config.stochastic_sampling)] * len(table)

    def _noise_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32


class FlowMatchLCMScheduler(ShiftedFlowScheduler):
    """Consistency sampling on a flow; arguments as diffusers' class of this name, scale_factors refused."""

    _one_step = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        time_shift_type: str = "exponential",
        scale_factors: list[float] | None = None,
        upscale_mode: str = "bicubic",
    ) -> None:
        if scale_factors:
            raise ValueError(f"scale_factors is {scale_factors}, expected None: a sample keeps its size")
        self._set_shifted_schedule()

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """The predicted x0, noised to the next level. (N, ...) alike."""
        reject_whole(timestep)
        return self._step(model_output, timestep, sample, generator=generator)

    def _table(self, begin: int) -> Table:
        return flow_stochastic(self._grid, begin=begin)

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws at every step, the last too."""
        return [True] * len(table)

    def _noise_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.promote_types(dtype, torch.float32)


class FlowMatchHeunDiscreteScheduler(FlowMatchScheduler):
    """Heun's method on a flow, two calls of step a node but the last; arguments as in diffusers."""

    order = 2

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, shift: float = 1.0) -> None:
        self._set_training_nodes(shift)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose num_inference_steps nodes; timesteps has 2n − 1 elements."""
        if isinstance(num_inference_steps, bool) or num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected at least 1")
        self.num_inference_steps = num_inference_steps
        count = self.config.num_train_timesteps
        even = np.linspace(self.sigma_max * count, self.sigma_min * count, num_inference_steps) / count
        sigmas = torch.from_numpy(flow_shift(even, self.config.shift)).float()
        levels = torch.cat([sigmas, torch.zeros(1, device="cpu")]).double().numpy()
        times = sigmas * count
        self._steps = Grid(timesteps=times.double().numpy(), alpha=1 - levels, sigma=levels)
        rows = heun_rows(self._steps)
        self._set_nodes(rows, rows.timesteps.astype(np.float32), sigmas=rows.sigma, device=device)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generators | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput:
        """One half of a step: first the Euler step, then its correction. (N, ...) alike."""
        reject_whole(timestep)
        churn = Churn(s_churn, s_tmin, s_tmax, s_noise)
        return self._step(model_output, timestep, sample, generator=generator, options=(churn,))

    def _table(self, begin: int, churn: Churn | None = None) -> Table:
        return flow_heun(self._steps, churn=churn or Churn(), begin=begin)

    def _draw_rows(self, table: Table) -> list[bool]:
        """diffusers draws in both halves of a churned step, and uses the first half's alone."""
        draws = super()._draw_rows(table)
        for row in range(1, len(draws), 2):
            draws[row] = draws[row - 1]
        return draws
