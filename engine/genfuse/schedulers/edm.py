"""What the two EDM schedulers share: x = x0 + sigma·noise, and the network that Karras et al. 2022 precondition."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.schedulers.nodes import NodeScheduler


class EDMScheduler(NodeScheduler):
    """Noise levels from sigma_max to sigma_min around data of standard deviation sigma_data."""

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    @property
    def init_noise_sigma(self) -> float:  # type: ignore[override]
        """Standard deviation of the first sample."""
        return float((self.config.sigma_max**2 + 1) ** 0.5)

    def precondition_inputs(self, sample: Tensor, sigma: float | Tensor) -> Tensor:
        """What the network is given: c_in·sample, of unit variance (table 1 there)."""
        scaled: Tensor = sample / (sigma**2 + self.config.sigma_data**2) ** 0.5
        return scaled

    def precondition_noise(self, sigma: float | Tensor) -> Tensor:
        """The time that the network is given at a level, log(sigma)/4: like sigma, (1,) for a number."""
        return 0.25 * torch.log(sigma if isinstance(sigma, Tensor) else torch.tensor([sigma], device="cpu"))

    def precondition_outputs(self, sample: Tensor, model_output: Tensor, sigma: float | Tensor) -> Tensor:
        """The denoised sample, c_skip·sample + c_out·model_output; c_out < 0 where a v is predicted."""
        data = self.config.sigma_data
        variance = sigma**2 + data**2
        c_out = sigma * data / variance**0.5
        if self.config.prediction_type == "v_prediction":
            c_out = -c_out
        denoised: Tensor = data**2 / variance * sample + c_out * model_output
        return denoised
