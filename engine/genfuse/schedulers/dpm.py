"""What the DPM-Solver and UniPC classes share: the schedule, the nodes, and what a configuration may hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.sigmas import flow_shift, sigma_to_t, spaced_sigmas
from genfuse.samplers.spacing import check_steps, custom_timesteps
from genfuse.schedulers.base import check_tensors
from genfuse.schedulers.config import FrozenConfig
from genfuse.schedulers.multistep import MultistepScheduler, diffusers_predictor
from genfuse.schedulers.nodes import reject_flow, sigma_kind

Array = NDArray[np.float64]
FINALS = ("zero", "sigma_min")


class DPMScheduler(MultistepScheduler):
    """Nodes of the configuration's spacing or kind of sigmas, then a last one at sigma 0 or sigma_min."""

    def _set_up(self, aliases: dict[str, dict[str, str]]) -> None:
        """Check the configuration, make the schedule, and start on all of its times.

        aliases  for each of these entries, names of other schedulers' options and what they mean here
        """
        config = self.config
        own = {name: meaning.get(config[name], config[name]) for name, meaning in aliases.items()}
        self._internal_dict = FrozenConfig({**config, **own})
        check_name("final_sigmas_type", config.get("final_sigmas_type", "zero"), FINALS)
        if not self._converts_to_flow():
            reject_flow(config, self._node_kind())
        self._network()
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
        times = np.arange(len(self._schedule))[::-1].astype(np.float32)
        self._set_dpm_levels(times, np.append(self._schedule.sigmas[::-1], 0.0), flow=False)
        self.num_inference_steps = None

    # --- the network's output ---

    def _integrates_noise(self) -> bool:
        """Whether the solver integrates epsilon, not x0."""
        return not str(self.config.algorithm_type).endswith("++")

    def _network(self) -> Predictor:
        """How the network's output is read. ValueError for a flow where epsilon is integrated."""
        kind, noise = self.config.prediction_type, self._integrates_noise()
        if kind == "flow_prediction" and noise:
            raise ValueError(
                "prediction_type is 'flow_prediction', expected 'epsilon', 'sample' or 'v_prediction' for a "
                "solver that integrates epsilon"
            )
        return diffusers_predictor(kind, flow=self.config.use_flow_sigmas, integrates_noise=noise)

    def _mean_output(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """The output (N, C, ...) without a learned variance's channels: no solver here uses them."""
        check_tensors(model_output, sample)
        learned = self.config.variance_type in ("learned", "learned_range")
        if learned and self.config.prediction_type == "epsilon":
            return model_output[:, : sample.shape[1]]
        return model_output

    # --- nodes ---

    def _node_kind(self) -> str | None:
        """The kind of sigmas that the configuration asks for; None: a spacing of times, or flow.

        Lu's go before exponential and beta ones, as in diffusers.
        """
        kind = sigma_kind(self.config)
        return "lu" if kind != "karras" and self.config.get("use_lu_lambdas") else kind

    def _converts_to_flow(self) -> bool:
        """Whether flow nodes can be made from the kind of sigmas."""
        return False

    def _check_mu(self, mu: float | None) -> float:
        """The flow shift: e^mu where mu is given. ValueError for a mu without dynamic shifting."""
        if mu is None:
            return float(self.config.flow_shift)
        if not self.config.use_dynamic_shifting or self.config.time_shift_type != "exponential":
            raise ValueError(
                f"mu is {mu}, expected None: it needs use_dynamic_shifting=True and exponential shifting"
            )
        return math.exp(mu)

    def _set_dpm_nodes(
        self,
        steps: int | None,
        device: str | torch.device | None,
        timesteps: Sequence[float] | None,
        shift: float,
    ) -> None:
        """`steps` nodes, or those at the given times, and the last one."""
        if (steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps is {steps} and timesteps is {timesteps}, expected exactly one of them"
            )
        kind = self._node_kind()
        if timesteps is not None and kind is not None:
            raise ValueError(f"timesteps is given, expected None: the {kind} sigmas choose the nodes")
        train = self.config.num_train_timesteps
        if timesteps is not None:
            times = custom_timesteps(timesteps, train)
            steps = len(times)
        else:
            assert steps is not None
            check_steps(steps, train)
            times = np.zeros(0)
        if kind is not None:
            times, sigmas = self._sigmas_of_kind(kind, steps)
        elif self.config.use_flow_sigmas:
            times, sigmas = self._flow_nodes(steps, shift)
        else:
            times = times if len(times) else self._spaced(steps, self._last_timestep())
            sigmas = self._sigmas_at(times)
        last = 0.0 if self.config.final_sigmas_type == "zero" else float(self._schedule.sigmas[0])
        self._set_dpm_levels(times.astype(np.int64), np.append(sigmas, last), device=device)

    def _sigmas_of_kind(self, kind: str, steps: int) -> tuple[Array, Array]:
        low, high = self._ends(kind)
        sigmas = spaced_sigmas(kind, low, high, steps)
        times = self._times_at(sigmas)
        rounds = kind in ("karras", "lu") and self._rounds_times()
        return (times.round() if rounds else times), sigmas

    def _ends(self, kind: str) -> tuple[float, float]:
        """The least and the most noise to signal that sigmas of a kind go between."""
        if kind == "lu":  # of log sigma as diffusers rounds it
            low, high = np.exp(self._schedule.log_sigmas[[0, -1]])
        else:
            low, high = self._schedule.sigmas[[0, -1]]
        return float(low), float(high)

    def _times_at(self, sigmas: Array) -> Array:
        """Training times of sigmas, from float32 levels: diffusers cuts their fraction off, so ulps count."""
        return sigma_to_t(sigmas, self._schedule.log_sigmas.astype(np.float32))

    def _flow_nodes(self, steps: int, shift: float) -> tuple[Array, Array]:
        train = self.config.num_train_timesteps
        sigmas = flow_shift(1 - np.linspace(1, 1 / train, steps + 1), shift)[:0:-1]
        return sigmas * train, sigmas

    def _rounds_times(self) -> bool:
        """Whether karras and lu sigmas have rounded times (else the fraction is cut off)."""
        return True

    def _sigmas_at(self, times: Array) -> Array:
        levels = self._schedule.sigmas
        if times.max() >= len(levels) or times.min() < 0:
            raise ValueError(
                f"timesteps go from {times[0]:g} to {times[-1]:g}, expected times in [0, {len(levels)}); "
                "change num_inference_steps or steps_offset"
            )
        return np.asarray(levels[times.astype(np.int64)])

    def _last_timestep(self) -> int:
        """Where the spacing starts: below the times whose log SNR is less than lambda_min_clipped."""
        levels = self._schedule.alphas_cumprod.astype(np.float32)
        log_snr = np.log(np.sqrt(levels)) - np.log(np.sqrt(1 - levels))
        return len(levels) - int(np.count_nonzero(log_snr < self.config.get("lambda_min_clipped", -math.inf)))

    def _set_dpm_levels(
        self,
        times: NDArray[Any],
        sigmas: Array,
        *,
        flow: bool | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Start anew at times (n,) and noise to signal, or flow's sigma, (n + 1,), rounded to float32."""
        sigmas = sigmas.astype(np.float32).astype(np.float64)
        flow = bool(self.config.use_flow_sigmas) if flow is None else flow
        alpha = 1 - sigmas if flow else 1 / np.sqrt(sigmas**2 + 1)
        sigma = sigmas if flow else sigmas * alpha
        used = len(times) + 1
        grid = Grid(times.astype(np.float64), alpha[:used], sigma[:used])
        self.num_inference_steps = len(times)
        self._set_nodes(grid, times, sigmas=sigmas, device=device)
