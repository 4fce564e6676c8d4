"""Denoising diffusion (Ho et al. 2020, arXiv:2006.11239), conditional on a class.

Forward (eq. 4):   x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps,    eps ~ N(0, I), a_t = alphas_cumprod[t]
Loss (eq. 14):     E || target - model(x_t, t) ||^2
Targets:           "epsilon": eps
                   "v_prediction": sqrt(a_t) eps - sqrt(1 - a_t) x_0    (Salimans & Ho 2022, appendix D)
Guidance:          the label is dropped in a tenth of the training (Ho & Salimans 2022, algorithm 1)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genfuse.data.dataset import ImageDataset
from genfuse.errors import CheckpointError
from genfuse.names import check_name
from genfuse.nn.unet import UNet, UNetConfig
from genfuse.samplers.forward import Forward
from genfuse.samplers.loop import sample
from genfuse.samplers.prediction import PredictionType
from genfuse.samplers.schedule import noise_schedule
from genfuse.train import checkpoint
from genfuse.train.config import TrainConfig
from genfuse.train.loop import Trainer

NUM_TRAIN_TIMESTEPS = 1000
LARGEST_IMAGE = 2**26
"""Values of a picture: beyond any that such a network is trained on, and still no burden to allocate."""


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


class DDPM:
    """Network, loss and preview of a denoising diffusion model.

    Args:
        config: see :class:`DDPMConfig`.
        image_shape: (C, H, W).
        class_names: one a class; as many as ``config.model.num_classes``.
        seed: of the initial weights.

    Raises:
        ValueError: pictures that the network cannot take, or as many classes as it does not have.
    """

    def __init__(
        self,
        config: DDPMConfig,
        image_shape: tuple[int, int, int],
        class_names: tuple[str, ...],
        seed: int = 0,
    ) -> None:
        self.config, self.image_shape, self.class_names = config, image_shape, class_names
        schedule = noise_schedule(config.schedule, NUM_TRAIN_TIMESTEPS)
        self.alphas_cumprod = torch.from_numpy(schedule.alphas_cumprod).float()
        self._forward = Forward(np.sqrt(schedule.alphas_cumprod), np.sqrt(1 - schedule.alphas_cumprod))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = UNet(config.model)
        self._check_shape()

    def _check_shape(self) -> None:
        (channels, height, width), model = self.image_shape, self.config.model
        if min(channels, height, width) < 1 or channels * height * width > LARGEST_IMAGE:
            raise ValueError(
                f"image_shape is {self.image_shape}, expected (C, H, W), at most {LARGEST_IMAGE} values"
            )
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

    @property
    def model(self) -> UNet:
        """The network; ``model(x, t, label=...)`` predicts what ``config.prediction`` says."""
        return self._model

    def label(self, class_name: str) -> int:
        """The label of a class. ValueError, naming the nearest, where there is no such class."""
        return self.class_names.index(check_name("label", class_name, self.class_names))

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """images (N, C, H, W) in [-1, 1], labels (N,) int64 → scalar."""
        n = len(images)
        t = torch.randint(NUM_TRAIN_TIMESTEPS, (n,), generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        x_t = self._forward.noise(images, noise, t)
        x_t = x_t.contiguous(
            memory_format=torch.channels_last
        )  # which units keep, and read without a transpose
        target = noise if self.config.prediction == "epsilon" else self._forward.velocity(images, noise, t)
        output: Tensor = self.model(x_t, t.float(), self._dropped(labels, generator))
        error: Tensor = (output - target).square().mean(dim=(1, 2, 3))
        loss: Tensor = (error * self._weights(t)).mean()
        return loss

    def _dropped(self, labels: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.config.model.num_classes:
            return None
        dropped = torch.rand(labels.shape, generator=generator) < self.config.label_dropout
        return torch.where(dropped, self.config.model.num_classes, labels)

    def _weights(self, t: Tensor) -> Tensor:
        """(N,): min(SNR, gamma) on the error in x_0, as a weight of the prediction's (Hang et al. 2023)."""
        gamma = self.config.min_snr_gamma
        if gamma is None:
            return torch.ones(t.shape)
        a = self.alphas_cumprod[t]
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

    def metadata(self) -> dict[str, Any]:
        """What :func:`load` needs beside the weights."""
        return {
            "system": "ddpm",
            "config": dataclasses.asdict(self.config),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
        }


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
    config, train_config = config or DDPMConfig(), train_config or TrainConfig()
    model = dataclasses.replace(
        config.model, in_channels=dataset.image_shape[0], num_classes=len(dataset.class_names)
    )
    system = DDPM(
        dataclasses.replace(config, model=model), dataset.image_shape, dataset.class_names, train_config.seed
    )
    Trainer(system, dataset, train_config, Path(run), resume).train()
    return system


def load(path: str | Path) -> DDPM:
    """A trained DDPM, its averaged weights in float32, ready to sample.

    Raises:
        CheckpointError: see :func:`genfuse.train.checkpoint.load`; or it is not a DDPM's, or describes another
            network or other pictures than its weights are for.
    """
    loaded = checkpoint.load(path)
    if loaded.metadata.get("system") != "ddpm":
        raise CheckpointError(
            f"{loaded.path} is of system {loaded.metadata.get('system')!r}, expected 'ddpm'"
        )
    try:
        system = _from_metadata(loaded)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{loaded.path} does not describe a DDPM ({error!r}): copy it anew") from error
    loaded.restore(system.model, "ema")
    system.model.eval()
    return system


def _check_sizes(shape: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """ValueError for numbers beyond what the stored tensors can be of: a network is built from them next."""
    # A narrow level has one head, however wide a head would be: the default stands in the smallest network.
    sizes = (size for tensor in tensors.values() for size in tensor.shape)
    largest = max(UNetConfig.head_channels, *sizes)
    for name, value in shape.items():
        most = len(tensors) if name == "num_blocks" else largest
        least = 0 if name in ("num_classes", "attention_levels") else 1
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > len(tensors) or not all(least <= index(number) <= most for number in numbers):
            raise ValueError(f"{name} is {value!r}, expected {least} to {most} with these tensors")


def _from_metadata(loaded: checkpoint.Checkpoint) -> DDPM:
    """A DDPM of the shape that the checkpoint describes, with fresh weights."""
    stored = dict(loaded.metadata["config"])
    shape: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in stored.pop("model").items()
    }
    _check_sizes(shape, loaded.tensors)
    config = DDPMConfig(model=UNetConfig(**shape), **stored)
    with torch.device("meta"):  # a network that the file does not hold is not worth its memory
        loaded.check(UNet(config.model), "ema")
    channels, height, width = map(index, loaded.metadata["image_shape"])
    names = loaded.metadata["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names is {names!r}, expected a list of names")
    return DDPM(config, (channels, height, width), tuple(names))
