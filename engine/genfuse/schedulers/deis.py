"""DEISMultistepScheduler: diffusers' interface over `samplers.deis`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers.deis import deis
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import FrozenConfig, register_to_config
from genfuse.schedulers.multistep import MultistepScheduler, diffusers_predictor
from genfuse.schedulers.nodes import reject_flow, sigma_kind
from genfuse.schedulers.output import SchedulerOutput

FEW_STEPS = 15
"""lower_order_final matters below this many steps."""

_OTHERS = {"algorithm_type": ("dpmsolver", "dpmsolver++"), "solver_type": ("midpoint", "heun", "bh1", "bh2")}
_OWN = {"algorithm_type": "deis", "solver_type": "logrho"}


class DEISMultistepScheduler(MultistepScheduler):
    """DEIS of order 1 to 3 (Zhang & Chen 2022); arguments and defaults as diffusers' class of this name.

    ValueError for flow_prediction without use_flow_sigmas, which diffusers runs: on variance-preserving nodes
    it does not mean what the network was trained for.
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
        algorithm_type: str = "deis",
        solver_type: str = "logrho",
        lower_order_final: bool = True,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        if solver_order not in (1, 2, 3):
            raise ValueError(f"solver_order is {solver_order!r}, expected 1, 2 or 3")
        reject_flow(self.config, sigma_kind(self.config))
        diffusers_predictor(prediction_type, flow=use_flow_sigmas)
        if prediction_type == "flow_prediction" and not use_flow_sigmas:
            raise ValueError(
                "prediction_type is 'flow_prediction' and use_flow_sigmas is False, expected True: "
                "a velocity of the flow says nothing on variance-preserving nodes"
            )
        for name, own in _OWN.items():
            check_name(name, self.config[name], (own, *_OTHERS[name]))
            self._internal_dict = FrozenConfig({**self.config, name: own})
        self._set_schedule(
            noise_schedule(
                beta_schedule,
                num_train_timesteps,
                beta_start=beta_start,
                beta_end=beta_end,
                trained_betas=trained_betas,
                precision="float32",
            )
        )
        self._set_training_nodes()

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None, mu: float | None = None
    ) -> None:
        """Choose the nodes. mu: log of the flow shift, with use_dynamic_shifting alone."""
        if mu is not None and not (
            self.config.use_dynamic_shifting and self.config.time_shift_type == "exponential"
        ):
            raise ValueError(
                f"mu is {mu}, expected None: it needs use_dynamic_shifting=True and exponential shifting"
            )
        shift = self.config.flow_shift if mu is None else math.exp(mu)
        self._set_multistep_nodes(num_inference_steps, device, flow_shift=shift)

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one. (N, ...) alike."""
        return self._step(model_output, timestep, sample)

    def _table(self, begin: int) -> Table:
        config = self.config
        return deis(
            self._grid,
            diffusers_predictor(config.prediction_type, flow=config.use_flow_sigmas),
            order=config.solver_order,
            lower_order_final=config.lower_order_final and len(self._grid) < FEW_STEPS,
            clip=self._clip(),
            begin=begin,
        )
