"""New pictures from a trained system, with where the time went."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import check
from genfuse.ops.explain import explain
from genfuse.rewrite.plan import Planned
from genfuse.samplers.loop import sample
from genfuse.samplers.sampler import Sampler
from genfuse.systems.ddpm import DDPM
from genfuse.train.pictures import Pictures

SHIPPED = Path(__file__).parent / "checkpoints" / "openmoji-32.safetensors"
"""The checkpoint that comes with genfuse: emoji of 32×32 pixels, conditional on 14 classes."""


def sample_pictures(
    system: DDPM,
    count: int,
    *,
    sampler: str = "dpmpp_2m",
    steps: int = 20,
    guidance: float = 2.0,
    label: str | None = None,
    seed: int = 0,
    batch: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Pictures:
    """`count` pictures; number i has the seed `seed + i` whatever `batch` is.

    label  one of the system's class names; None: the classes in turn. ValueError for another name.
    Other arguments as `genfuse.sample`; x0 is clipped to [−1, 1].
    """
    place = check.device("device", device)
    model = system.model.to(place).eval()
    labels = _labels(system, count, label)
    network = _Timed(Planned(model), place)
    images, rows = [], 0
    begin = network.now()
    for first in range(0, count, batch):
        part = None if labels is None else labels[first : first + batch].to(place)
        n = min(batch, count - first)
        runner = Sampler(
            sampler,
            steps,
            schedule=system.config.schedule,
            prediction=system.config.prediction,
            clip=1.0,
            guidance=guidance if part is not None else 1.0,
            seeds=seed + first,
        )
        cond: dict[str, Any] = {} if part is None else {"label": part}
        made = sample(
            network, (n, *system.image_shape), sampler=runner, cond=cond, device=place, progress=progress
        )
        assert isinstance(made, Tensor)
        images.append(made.cpu())
        rows += len(runner)
    seconds = network.now() - begin
    in_sampler = seconds - network.seconds
    share = 100 * in_sampler / seconds
    detail = (
        f"network {100 - share:.1f} %, sampler {share:.1f} % "
        f"({in_sampler / rows * 1e6:.0f} µs a step of {min(batch, count)} pictures); "
        f"{sampler}, {steps} steps, {explain('sampler_step').backend} kernels"
    )
    return Pictures(torch.cat(images), seconds, detail)


def _labels(system: DDPM, count: int, label: str | None) -> Tensor | None:
    classes = len(system.class_names)
    if label is None:
        return torch.arange(count) % classes if classes else None
    return torch.full((count,), system.label(label))


class _Timed:
    """A model, and the seconds spent in it."""

    def __init__(self, model: Callable[..., Tensor], device: torch.device) -> None:
        self._model, self._device = model, device
        self.seconds = 0.0

    def now(self) -> float:
        """The time once the device has done what it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        begin = self.now()
        output: Tensor = self._model(*args, **kwargs)
        self.seconds += self.now() - begin
        return output
