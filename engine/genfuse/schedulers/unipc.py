"""UniPCMultistepScheduler: diffusers' interface over `samplers.unipc`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.sigmas import flow_shift as shifted
from genfuse.samplers.sigmas import spaced_sigmas, stretched
from genfuse.samplers.spacing import SPACINGS, check_steps
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.samplers.unipc import VARIANTS, unipc
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import FrozenConfig, register_to_config
from genfuse.schedulers.dpm import DPMScheduler
from genfuse.schedulers.output import SchedulerOutput

Array = NDArray[np.float64]
SMALLEST_SIGNAL = 1e-6
"""Flow nodes do not start at sigma 1, where log SNR is infinite, but this much below."""


class UniPCMultistepScheduler(DPMScheduler):
    """UniPC (Zhao et al. 2023); arguments and defaults as diffusers' class. ValueError for a solver_p.

    A predictor of another scheduler (solver_p) would need the sample before it kept; see `samplers.unipc`. So
    would diffusers' corrector where the caller changes the sample between steps: there it starts from the sample
    that the last step was given, here from the one that this step is given, less what the last step added.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        predict_x0: bool = True,
        solver_type: str = "bh2",
        lower_order_final: bool = True,
        disable_corrector: Sequence[int] = (),
        solver_p: object | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        final_sigmas_type: str = "zero",
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        shift_terminal: float | None = None,
    ) -> None:
        if not isinstance(disable_corrector, Sequence) or isinstance(disable_corrector, str):
            raise TypeError(f"disable_corrector is {disable_corrector!r}, expected step numbers")
        # A list, as JSON gives it back and as diffusers has it.
        self._internal_dict = FrozenConfig({**self.config, "disable_corrector": list(disable_corrector)})
        if solver_p is not None:
            raise ValueError(f"solver_p is a {type(solver_p).__name__}, expected None: UniPC's own predictor")
        if shift_terminal is not None and not use_flow_sigmas:
            raise ValueError(
                f"shift_terminal is {shift_terminal}, expected None without use_flow_sigmas=True"
            )
        check_name("time_shift_type", time_shift_type, ("exponential", "linear"))
        check_name("timestep_spacing", timestep_spacing, SPACINGS)
        self._set_up({"solver_type": {"midpoint": "bh2", "heun": "bh2", "logrho": "bh2"}})
        check_name("solver_type", self.config.solver_type, VARIANTS)
        if not 1 <= solver_order <= 4:
            raise ValueError(f"solver_order is {solver_order!r}, expected 1 to 4")

    def _integrates_noise(self) -> bool:
        return not self.config.predict_x0

    def _converts_to_flow(self) -> bool:
        return self._node_kind() == "karras"

    def _clip(self) -> Clip:
        """diffusers does not threshold where epsilon is integrated."""
        return super()._clip() if self.config.predict_x0 else NO_CLIP

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | NDArray[np.floating] | None = None,
        mu: float | None = None,
    ) -> None:
        """Choose the nodes. sigmas: (n,) flow's own, before the shift; mu: the dynamic shift."""
        config = self.config
        if config.use_dynamic_shifting and mu is None:
            raise ValueError("mu is None, expected a number with use_dynamic_shifting=True")
        if sigmas is not None and not (config.use_flow_sigmas and self._node_kind() is None):
            raise ValueError("sigmas is given, expected None: only use_flow_sigmas=True alone takes them")
        steps = num_inference_steps if sigmas is None else len(sigmas)
        if steps is None:
            raise ValueError("num_inference_steps and sigmas are both None, expected one of them")
        check_steps(steps, config.num_train_timesteps)
        kind = self._node_kind()
        if kind is not None:
            times, levels = self._sigmas_of_kind(kind, steps)
            smallest = float(levels[-1])
        elif config.use_flow_sigmas:
            times, levels = self._shifted_flow(steps, sigmas, mu)
            smallest = float(levels[-1])
        else:
            times = self._spaced(steps, config.num_train_timesteps)
            levels, smallest = self._sigmas_at(times), float(self._schedule.sigmas[0])
        last = 0.0 if config.final_sigmas_type == "zero" else smallest
        self._set_dpm_levels(times.astype(np.int64), np.append(levels, last), device=device)

    def _sigmas_of_kind(self, kind: str, steps: int) -> tuple[Array, Array]:
        """Between sigma_min and sigma_max where the configuration has them; karras' also as flow's."""
        config = self.config
        low, high = self._ends(kind)
        low = low if config.sigma_min is None else config.sigma_min
        high = high if config.sigma_max is None else config.sigma_max
        sigmas = spaced_sigmas(kind, low, high, steps)
        if config.use_flow_sigmas:
            sigmas = sigmas / (sigmas + 1)
            return sigmas * config.num_train_timesteps, sigmas
        times = self._times_at(sigmas)
        return (times.round() if kind == "karras" else times), sigmas

    def _shifted_flow(
        self, steps: int, sigmas: Sequence[float] | NDArray[np.floating] | None, mu: float | None
    ) -> tuple[Array, Array]:
        """Flow's sigmas, shifted by flow_shift or mu, stretched to end at shift_terminal."""
        config, train = self.config, self.config.num_train_timesteps
        even = np.linspace(1, 1 / train, steps + 1)[:-1]
        levels = even if sigmas is None else np.asarray(sigmas, dtype=np.float64)
        if config.use_dynamic_shifting:
            assert mu is not None
            levels = shifted(levels, math.exp(mu) if config.time_shift_type == "exponential" else mu)
        else:
            levels = shifted(levels, config.flow_shift)
        if config.shift_terminal:
            levels = np.asarray(stretched(levels, config.shift_terminal), dtype=np.float64)
        if abs(levels[0] - 1) < SMALLEST_SIGNAL:
            levels = np.append(levels[0] - SMALLEST_SIGNAL, levels[1:])
        return levels * train, levels

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one. (N, ...) alike."""
        return self._step(model_output, timestep, sample)

    def _table(self, begin: int) -> Table:
        config = self.config
        return unipc(
            self._grid,
            self._network(),
            order=config.solver_order,
            predict_x0=config.predict_x0,
            variant=config.solver_type,
            lower_order_final=config.lower_order_final,
            disable_corrector=config.disable_corrector,
            clip=self._clip(),
            begin=begin,
        )
