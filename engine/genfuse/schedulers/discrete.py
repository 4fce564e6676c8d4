"""What the schedulers over a noise-to-signal level share: diffusers' Euler, Heun, DPM2 and LMS classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.samplers.forward import Forward
from genfuse.samplers.schedule import NoiseSchedule, noise_schedule
from genfuse.samplers.sigmas import sigma_to_t, spaced_sigmas
from genfuse.samplers.spacing import custom_timesteps, interpolated_sigmas, sigma_grid, spaced_timesteps
from genfuse.samplers.two_calls import interleaved
from genfuse.schedulers.base import Scheduler, Timestep

Array = NDArray[np.float64]


class DiscreteScheduler(Scheduler):
    """x = x0 + sigma·noise at the nodes of a discrete schedule (exploding coordinates, alpha = 1)."""

    def _training_timesteps(self, steps: int | None, timesteps: Sequence[float] | None) -> Array:
        """The nodes' times as diffusers rounds them: float32, given or spaced as the configuration says."""
        config = self.config
        if (steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps is {steps} and timesteps is {timesteps}, expected exactly one of them"
            )
        if timesteps is not None:
            kind = self._sigma_kind()
            if kind is not None:
                raise ValueError(
                    f"timesteps is given, expected None: config.use_{kind}_sigmas chooses the nodes"
                )
            values = custom_timesteps(timesteps, config.num_train_timesteps)
        else:
            assert steps is not None
            values = spaced_timesteps(
                config.timestep_spacing,
                steps,
                config.num_train_timesteps,
                steps_offset=config.steps_offset,
                rounded=False,
            )
        return values.astype(np.float32).astype(np.float64)

    def _sigma_kind(self) -> str | None:
        """The one of karras, exponential and beta that the configuration asks for. ValueError for two."""
        kinds = [kind for kind in ("karras", "exponential", "beta") if self.config.get(f"use_{kind}_sigmas")]
        if len(kinds) > 1:
            raise ValueError(
                f"use_{kinds[0]}_sigmas and use_{kinds[1]}_sigmas are both True, expected at most one"
            )
        return kinds[0] if kinds else None

    def _nodes(self, schedule: NoiseSchedule, timesteps: Array) -> tuple[Array, Array]:
        """(sigmas (n,), their times (n,)) of the configured kind between the ends that the times give."""
        sigmas = interpolated_sigmas(schedule, timesteps)
        kind = self._sigma_kind()
        if kind is None:
            return sigmas, timesteps
        low, high = self.config.get("sigma_min"), self.config.get("sigma_max")
        low = float(sigmas[-1]) if low is None else low
        high = float(sigmas[0]) if high is None else high
        sigmas = spaced_sigmas(kind, low, high, len(timesteps))
        return sigmas, sigma_to_t(sigmas, schedule.log_sigmas)

    def _set_sigma_schedule(self) -> None:
        """The configured schedule, its sigmas finite, and all of its nodes until set_timesteps chooses."""
        config = self.config
        self._sigma_kind()
        rescale = bool(config.get("rescale_betas_zero_snr"))
        schedule = noise_schedule(
            config.beta_schedule,
            config.num_train_timesteps,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            trained_betas=config.trained_betas,
            rescale_betas_zero_snr=rescale,
            precision="float32",
        )
        self._set_schedule(schedule.with_finite_sigmas() if rescale else schedule)
        times = np.arange(len(schedule))[::-1].astype(np.float64)
        self._set_levels(np.append(self._schedule.sigmas[::-1], 0.0), times)
        self.num_inference_steps = None

    def _set_levels(
        self,
        sigmas: Array,
        times: Array,
        *,
        second_sigmas: Array | None = None,
        second_times: Array | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Nodes at sigmas (n + 1,) and times (n,); solvers of two calls have (n − 1,) of each between."""
        sigmas = sigmas.astype(np.float32).astype(np.float64)
        row_sigmas, row_times, shown = sigmas[:-1], self._public_times(sigmas, times), sigmas
        if second_sigmas is not None and second_times is not None:
            row_sigmas, row_times = (
                interleaved(row_sigmas, second_sigmas.astype(np.float32).astype(np.float64)),
                interleaved(row_times, second_times),
            )
            shown = np.append(sigmas[:1], sigmas[1:].repeat(2))[: len(row_times) + 1]
        self.num_inference_steps = len(times)
        self._set_nodes(
            sigma_grid(sigmas, timesteps=times, coordinates="ve"),
            row_times.astype(np.float32),
            sigmas=shown,
            input_scale=1 / np.hypot(1, row_sigmas),
            device=device,
        )
        largest = float(self.sigmas.max())
        even = self.config.timestep_spacing in ("linspace", "trailing")
        self.init_noise_sigma = largest if even else (largest**2 + 1) ** 0.5

    def _public_times(self, sigmas: Array, times: Array) -> Array:
        """What the model is given at the nodes."""
        return times

    def _check_train_timesteps(self, num_train_timesteps: int | None) -> None:
        """diffusers' set_timesteps takes the length of training once more; it must be the schedule's."""
        if num_train_timesteps not in (None, len(self._schedule)):
            raise ValueError(
                f"num_train_timesteps is {num_train_timesteps}, expected {len(self._schedule)} or None: the "
                "schedule's own"
            )

    def _make_forward(self) -> Forward:
        sigmas = self.sigmas.double().numpy()
        return Forward(np.ones_like(sigmas), sigmas)

    def _levels(self, timesteps: Tensor, sample: Tensor) -> Tensor:
        """Rows of `sigmas`: the step that is due where a begin index is set, else each timestep's own."""
        count = sample.shape[0]
        timesteps = torch.as_tensor(timesteps, device="cpu").reshape(-1)
        if self._begin_index is not None:
            rows = [self._begin_index if self._step_index is None else self._step_index] * count
        else:
            rows = [self._find(timestep) for timestep in timesteps.tolist()]
            rows = rows * count if len(rows) == 1 else rows
        if len(rows) != count:
            raise ValueError(f"timesteps has {len(rows)} elements, expected {count}: one a sample")
        return torch.tensor(rows, dtype=torch.int64, device=sample.device)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """alpha·noise − sigma·sample of the variance-preserving pair at each timestep's sigma."""
        if self._velocity is None:
            sigmas = self.sigmas.double().numpy()
            self._velocity = Forward(1 / np.hypot(1, sigmas), sigmas / np.hypot(1, sigmas))
        return self._velocity.velocity(sample, noise, self._levels(timesteps, sample))

    def _reject_whole(self, timestep: Timestep) -> None:
        """diffusers' k-diffusion classes take an element of timesteps, never its position."""
        if isinstance(timestep, int) and not isinstance(timestep, bool):
            raise ValueError(
                f"timestep is the int {timestep}, expected one of scheduler.timesteps (a float): a position "
                "in them is not a timestep"
            )
