"""What DEIS and SA-Solver share in diffusers: their nodes, and how the network's outputs are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genfuse.names import check_name
from genfuse.samplers.combination import Float, M, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PREDICTION_TYPES, Prediction
from genfuse.samplers.predictor import Predictor
from genfuse.samplers.sigmas import flow_shift, sigma_to_t, spaced_sigmas
from genfuse.samplers.spacing import SPACINGS, check_apart, check_steps
from genfuse.schedulers.nodes import NodeScheduler, sigma_kind

Array = NDArray[np.float64]


class MultistepScheduler(NodeScheduler):
    """Nodes in the configuration's spacing or kind of sigmas; the last is the schedule's first level."""

    _gives_original = False

    def _set_multistep_nodes(
        self,
        steps: int,
        device: str | torch.device | None = None,
        *,
        flow_shift: float = 1.0,
        last_timestep: int | None = None,
    ) -> None:
        """Start anew on `steps` nodes; those from `last_timestep` up are left out of the spacing."""
        check_steps(steps, self.config.num_train_timesteps)
        if self.config.use_flow_sigmas:
            timesteps, sigmas = _flow_nodes(steps, self.config.num_train_timesteps, flow_shift)
        else:
            timesteps, sigmas = self._sigma_nodes(steps, last_timestep or self.config.num_train_timesteps)
        self.num_inference_steps = steps
        self._set_levels(timesteps.astype(np.int64), sigmas, device)

    def _set_training_nodes(self) -> None:
        """Every training time as a node, until set_timesteps is called."""
        levels = self._schedule.sigmas[::-1]
        times = np.arange(len(levels))[::-1].astype(np.float32)
        self._set_levels(times, np.append(levels, levels[-1]))

    def _set_levels(
        self, timesteps: NDArray[Any], sigmas: Array, device: str | torch.device | None = None
    ) -> None:
        """timesteps (n,), sigmas (n + 1,): noise to signal, or the flow's sigma; rounded to float32."""
        sigmas = sigmas.astype(np.float32).astype(np.float64)
        alpha = 1 - sigmas if self.config.use_flow_sigmas else 1 / np.sqrt(sigmas**2 + 1)
        sigma = sigmas if self.config.use_flow_sigmas else sigmas * alpha
        grid = Grid(timesteps=timesteps.astype(np.float64), alpha=alpha, sigma=sigma)
        self._set_nodes(grid, timesteps, sigmas=sigmas, device=device)

    def _sigma_nodes(self, steps: int, last_timestep: int) -> tuple[Array, Array]:
        """(timesteps (n,), noise to signal (n + 1,)) as the configuration asks."""
        levels = self._schedule.sigmas
        kind = sigma_kind(self.config)
        if kind is not None:
            sigmas = spaced_sigmas(kind, float(levels[0]), float(levels[-1]), steps)
            timesteps = sigma_to_t(sigmas, self._schedule.log_sigmas)
            return (timesteps.round() if kind == "karras" else timesteps), np.append(sigmas, sigmas[-1])
        timesteps = self._spaced(steps, last_timestep)
        if timesteps[0] >= len(levels) or timesteps[-1] < 0:
            raise ValueError(
                f"timesteps go from {timesteps[0]:g} to {timesteps[-1]:g}, expected times in "
                f"[0, {len(levels)}); change num_inference_steps or steps_offset"
            )
        return timesteps, np.append(levels[timesteps.astype(np.int64)], levels[0])

    def _spaced(self, steps: int, last_timestep: int) -> Array:
        """(n,) times: as one step more would be spaced, without the step to time 0. ValueError unless all differ."""
        spacing = check_name("timestep_spacing", self.config.timestep_spacing, SPACINGS)
        if spacing == "linspace":
            times = np.linspace(0, last_timestep - 1, steps + 1).round()[:0:-1]
        elif spacing == "leading":
            stride = last_timestep // (steps + 1)
            times = np.arange(steps, 0, -1) * float(stride) + self.config.steps_offset
        else:
            stride_down = self.config.num_train_timesteps / steps
            times = (np.arange(last_timestep, 0, -stride_down).round() - 1)[:steps]
        return check_apart(times, spacing)


def _flow_nodes(steps: int, num_train_timesteps: int, shift: float) -> tuple[Array, Array]:
    sigmas = 1 - np.linspace(1, 1 / num_train_timesteps, steps + 1)
    sigmas = flow_shift(sigmas, shift)[:0:-1]
    return sigmas * num_train_timesteps, np.append(sigmas, sigmas[-1])


def diffusers_predictor(kind: str, *, flow: bool, integrates_noise: bool = False) -> Predictor:
    """What diffusers' multistep solvers take an output for, on whatever nodes.

    On flow nodes a v is still read as alpha·x − sigma·v; on variance-preserving ones a velocity is multiplied
    by noise to signal. Neither is what the network was trained for; both are kept as they are there.
    """
    check_name("prediction_type", kind, PREDICTION_TYPES)
    if kind == "v_prediction" and flow:
        return _v_on_flow_noise if integrates_noise else _v_on_flow
    if kind == "flow_prediction" and not flow:
        return _flow_on_vp
    return kind  # type: ignore[return-value]


def _v_on_flow(alpha: Float, sigma: Float) -> Prediction:
    x0 = X * alpha - M * sigma
    return Prediction(x0=x0, epsilon=(X - x0 * alpha) / sigma)


def _v_on_flow_noise(alpha: Float, sigma: Float) -> Prediction:
    return Prediction(x0=X * alpha - M * sigma, epsilon=X * sigma + M * alpha)


def _flow_on_vp(alpha: Float, sigma: Float) -> Prediction:
    x0 = X - M * (float(sigma) / float(alpha))
    return Prediction(x0=x0, epsilon=(X - x0 * alpha) / sigma)
