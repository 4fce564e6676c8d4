"""IPNDMScheduler: diffusers' interface over `samplers.ipndm`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.samplers.grid import Grid
from genfuse.samplers.ipndm import ipndm
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Timestep
from genfuse.schedulers.config import register_to_config
from genfuse.schedulers.nodes import NodeScheduler
from genfuse.schedulers.output import SchedulerOutput


class IPNDMScheduler(NodeScheduler):
    """Fourth-order iPNDM on a schedule of its own: sigma = sin²(πs/2), s from 1 to 0, v-like outputs.

    trained_betas  (n + 1,) sigmas of the nodes themselves, instead: n steps, whatever set_timesteps asks for
    """

    _gives_original = False

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
    ) -> None:
        self.set_timesteps(num_train_timesteps)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the nodes, unless trained_betas has. ValueError below one step."""
        if isinstance(num_inference_steps, bool) or num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected at least 1")
        self.num_inference_steps = num_inference_steps
        # float32 on the way, as diffusers computes them: the model is given these very times.
        steps = torch.cat(
            [torch.linspace(1, 0, num_inference_steps + 1, device="cpu")[:-1], torch.zeros(1, device="cpu")]
        )
        given = self.config.trained_betas
        self.betas = (
            torch.sin(steps * math.pi / 2) ** 2
            if given is None
            else torch.tensor(given, device="cpu").float()
        )
        if len(self.betas) < 2:
            raise ValueError(
                f"trained_betas has {len(self.betas)} elements, expected at least 2: a step's ends"
            )
        self.alphas = (1.0 - self.betas**2) ** 0.5
        timesteps = (torch.atan2(self.betas, self.alphas) / math.pi * 2)[:-1].numpy()
        alpha, sigma = self.alphas.double().numpy(), self.betas.double().numpy()
        grid = Grid(timesteps=timesteps.astype(np.float64), alpha=alpha, sigma=sigma)
        self._forward = None
        self._set_nodes(grid, timesteps, device=device)

    def step(
        self, model_output: Tensor, timestep: Timestep, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput:
        """The sample at the next node, from the network's output at this one. (N, ...) alike."""
        return self._step(model_output, timestep, sample)

    def _table(self, begin: int) -> Table:
        return ipndm(self._grid, begin=begin)
