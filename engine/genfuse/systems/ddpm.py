"""Denoising diffusion (Ho et al. 2020, arXiv:2006.11239), conditional on a class.

Forward (eq. 4):   x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps,    eps ~ N(0, I), a_t = alphas_cumprod[t]
Loss (eq. 14):     E || target - model(x_t, t) ||^2
Targets:           "epsilon": eps
                   "v_prediction": sqrt(a_t) eps - sqrt(1 - a_t) x_0    (Salimans & Ho 2022, appendix D)
Guidance:          the label is dropped in a tenth of the training (Ho & Salimans 2022, algorithm 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genfuse.data.dataset import Data, ImageDataset
from genfuse.names import check_name
from genfuse.nn.unet import UNet, UNetConfig
from genfuse.samplers.forward import Forward
from genfuse.samplers.loop import sample
from genfuse.samplers.prediction import PredictionType
from genfuse.samplers.schedule import noise_schedule
from genfuse.train import loop, settings
from genfuse.train.config import RunConfig, TrainConfig
from genfuse.train.draws import Draws
from genfuse.train.pictures import Pictures
from genfuse.train.step import Step
from genfuse.train.system import System

NUM_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class DDPMConfig:
    """What makes a DDPM, beside its data and its training.

    Attributes:
        model: the network.
        schedule: a name that :func:`genfuse.samplers.schedule.noise_schedule` knows.
        prediction: "epsilon" or "v_prediction".
        label_dropout: share of pictures trained without their label.
        min_snr_gamma: weight the loss by min(SNR, gamma) instead of SNR (Hang et al. 2023); None: as eq. 14.
    """

    model: UNetConfig = field(default_factory=UNetConfig)
    schedule: str = "linear"
    prediction: PredictionType = "epsilon"
    label_dropout: float = 0.1
    min_snr_gamma: float | None = None

    def __post_init__(self) -> None:
        check_name("prediction", self.prediction, ("epsilon", "v_prediction"))
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout is {self.label_dropout}, expected a share in [0, 1]")
        if self.min_snr_gamma is not None and self.min_snr_gamma <= 0:
            raise ValueError(f"min_snr_gamma is {self.min_snr_gamma}, expected a positive number or None")


class DDPM(System[DDPMConfig]):
    """Network, loss and training step of a denoising diffusion model.

    Args:
        config: see :class:`DDPMConfig`.
        image_shape: (C, H, W).
        class_names: one a class; as many as ``config.model.num_classes``.
        seed: of the initial weights.

    Raises:
        ValueError: pictures that the network cannot take, or as many classes as it does not have.
    """

    name = "ddpm"
    config_class = DDPMConfig
    model: UNet
    """``model(x, t, label=...)`` predicts what ``config.prediction`` says."""

    def build(self) -> None:
        schedule = noise_schedule(self.config.schedule, NUM_TRAIN_TIMESTEPS)
        self.alphas_cumprod = torch.from_numpy(schedule.alphas_cumprod).float()
        self._forward = Forward(np.sqrt(schedule.alphas_cumprod), np.sqrt(1 - schedule.alphas_cumprod))
        self.model = UNet(self.config.model)
        self._check_shape()

    def _check_shape(self) -> None:
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is {self.image_shape}, expected pictures (C, H, W)")
        (channels, height, width), model = self.image_shape, self.config.model
        if channels != model.in_channels:
            raise ValueError(
                f"image_shape is {self.image_shape}, this network takes {model.in_channels} channels"
            )
        multiple = self.model.size_multiple
        if height % multiple or width % multiple:
            raise ValueError(f"size is {height} x {width}, this network needs multiples of {multiple}")
        if len(self.class_names) != model.num_classes:
            raise ValueError(
                f"there are {len(self.class_names)} class_names, this network has {model.num_classes} classes"
            )

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        if not isinstance(run, TrainConfig):
            raise TypeError(
                f"config is {type(run).__name__}, expected a TrainConfig: it has AdamW's settings"
            )
        model = self.model.parameters()
        decay = run.weight_decay
        return {
            "model": torch.optim.AdamW(model, run.learning_rate, run.betas, weight_decay=decay, fused=True)
        }

    def step(self, now: Step) -> None:
        """Algorithm 1: one gradient step on the loss of a batch."""
        now.minimise("model", self.loss(*now.batch(), now))

    @property
    def averaged(self) -> UNet:
        """The network: samples come from its averaged weights."""
        return self.model

    def loss(self, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        """images (N, C, H, W) in [-1, 1], labels (N,) int64 → scalar."""
        n = len(images)
        t = draws.integers(NUM_TRAIN_TIMESTEPS, n)
        noise = draws.normal(*images.shape)
        x_t = self._forward.noise(images, noise, t)
        x_t = x_t.contiguous(
            memory_format=torch.channels_last
        )  # which units keep, and read without a transpose
        target = noise if self.config.prediction == "epsilon" else self._forward.velocity(images, noise, t)
        output: Tensor = self.model(x_t, t.float(), self._dropped(labels, draws))
        error: Tensor = (output - target).square().mean(dim=(1, 2, 3))
        loss: Tensor = (error * self._weights(t)).mean()
        return loss

    def _dropped(self, labels: Tensor, draws: Draws) -> Tensor | None:
        if not self.config.model.num_classes:
            return None
        dropped = draws.uniform(len(labels)) < self.config.label_dropout
        return torch.where(dropped, self.config.model.num_classes, labels)

    def _weights(self, t: Tensor) -> Tensor:
        """(N,): min(SNR, gamma) on the error in x_0, as a weight of the prediction's (Hang et al. 2023)."""
        gamma = self.config.min_snr_gamma
        if gamma is None:
            return torch.ones(t.shape, device=t.device)
        a = self.alphas_cumprod.to(t.device)[t]
        snr = a / (1 - a)
        return snr.clamp(max=gamma) / (snr if self.config.prediction == "epsilon" else snr + 1)

    def preview(self, model: nn.Module) -> Tensor:
        """Eight pictures of each of the first eight classes, or 64 without: DPM-Solver++, guidance 2."""
        classes = self.config.model.num_classes
        images = sample(
            model,
            (64, *self.image_shape),
            seeds=0,
            schedule=self.config.schedule,
            prediction=self.config.prediction,
            guidance=2.0 if classes else None,
            cond={"label": torch.arange(64) // 8 % classes} if classes else None,
            clip=1.0,
        )
        assert isinstance(images, Tensor)  # a trajectory was not asked for
        return images

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        label: str | None = None,
        sampler: str = "dpmpp_2m",
        steps: int = 20,
        guidance: float = 2.0,
    ) -> Pictures:
        """As :func:`genfuse.systems.sampling.sample_pictures` has it."""
        from genfuse.systems import sampling  # it knows this class

        solver: dict[str, Any] = {"sampler": sampler, "steps": steps, "guidance": guidance, "label": label}
        return sampling.sample_pictures(
            self, count, seed=seed, batch=batch, device=device, progress=progress, **solver
        )

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[DDPMConfig, TrainConfig]:
        """What suits emoji of 32 pixels."""
        return DDPMConfig(schedule="squaredcos_cap_v2", prediction="v_prediction"), TrainConfig()

    @classmethod
    def fitted(cls, config: DDPMConfig, data: Data) -> DDPMConfig:
        """Channels and classes of the network are taken from the data."""
        channels, classes = data.image_shape[0], len(data.class_names)
        return replace(config, model=replace(config.model, in_channels=channels, num_classes=classes))

    @classmethod
    def check_sizes(cls, config: DDPMConfig, tensors: Mapping[str, Tensor]) -> None:
        # A narrow level has one head, however wide a head would be: the default stands in the smallest network.
        sizes = (size for tensor in tensors.values() for size in tensor.shape)
        largest = max(UNetConfig.head_channels, *sizes)
        for name, value in settings.names(config.model):
            most = len(tensors) if name == "num_blocks" else largest
            least = 0 if name in ("num_classes", "attention_levels") else 1
            numbers = value if isinstance(value, tuple) else (value,)
            if len(numbers) > len(tensors) or not all(least <= number <= most for number in numbers):
                raise ValueError(f"{name} is {value!r}, expected {least} to {most} with these tensors")


def train(
    dataset: ImageDataset,
    run: str | Path,
    config: DDPMConfig | None = None,
    train_config: TrainConfig | None = None,
    resume: bool = False,
) -> DDPM:
    """Train on ``dataset`` in the folder ``run`` (see :class:`genfuse.train.loop.Trainer`).

    Channels and classes of the network are taken from the data.

    Raises:
        ValueError: the pictures' size is no multiple of what the network needs; see also ``Trainer``.
    """
    return loop.train(DDPM, dataset, run, config or DDPMConfig(), train_config or TrainConfig(), resume)


load = DDPM.load
