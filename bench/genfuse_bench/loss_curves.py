"""Rows of `genfuse bench loss_curves`: whole trainings on genfuse's kernels beside eager PyTorch's, seed by seed.

Everyone starts each seed from the same weights and sees the same pictures, noise and timesteps in the same order. What
is left between two curves is rounding, which training makes larger: a GAN's curves part, whoever computes them. Hence
the measure is the spread of eager's own seeds, and eager PyTorch in its other memory format, whose rounding is another
too, runs beside as a control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.data.dataset import ImageDataset
from genfuse.samplers.schedule import noise_schedule
from genfuse.train.batches import ImageBatches, step_generator

OURS, EAGER, CONTROL = "ours", "eager", "eager channels-last"
BLOCK = 25
"""Steps that a point of a curve is the mean of."""
LIMIT = 2.0
"""Deviations of eager's seeds that our mean curve may be away from eager's."""

Losses = dict[str, list[float]]
"""Of every step, by name."""


@dataclass(frozen=True)
class LossCurveRow:
    """One loss of one training; curves are of points that are means of `block` steps each."""

    op: str
    workload: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    steps: int
    block: int
    seeds: int
    means: dict[str, list[float]]
    """over the seeds, point by point"""
    spread: list[float]
    """standard deviation of eager's seeds"""
    deviation: dict[str, float]
    """largest distance of a mean curve from eager's, in spreads"""
    apart: dict[str, float]
    """root mean square distance of a curve from eager's of the same seed, in spreads"""

    @property
    def follows(self) -> bool:
        """Whether ours stays within eager's spread."""
        return self.deviation[OURS] <= LIMIT


class Networks:
    """A training's networks as one competitor runs them: `calls` in the place of `modules`."""

    def __init__(self, who: str, makers: Sequence[Callable[[], nn.Module]]) -> None:
        self._makers, self._is_last = makers, who == CONTROL
        self.modules = [make() for make in makers]
        if self._is_last:
            self.modules = [m.to(memory_format=torch.channels_last) for m in self.modules]  # type: ignore[call-overload]
        self.calls: list[Any] = [genfuse.optimize(m) if who == OURS else m for m in self.modules]

    def restart(self, seed: int) -> None:
        """The weights that this seed begins with."""
        torch.manual_seed(seed)
        for module, make in zip(self.modules, self._makers, strict=True):
            module.load_state_dict(make().state_dict())

    def laid_out(self, images: Tensor) -> Tensor:
        """As this competitor is given them."""
        return images.contiguous(memory_format=torch.channels_last) if self._is_last else images


def train_ddpm(networks: Networks, dataset: ImageDataset, batch: int, steps: int, seed: int) -> Losses:
    """Ho et al. 2020, equation 14: noise is predicted, by Adam at 1e-3."""
    networks.restart(seed)
    (unet,), batches = networks.calls, ImageBatches(dataset, batch, 0.0, flip=False)
    optimizer = torch.optim.Adam(networks.modules[0].parameters(), 1e-3)
    kept = torch.from_numpy(noise_schedule("linear").alphas_cumprod).float()
    losses = []
    for step in range(steps):
        generator = step_generator(seed, step)
        images, _ = batches.draw(generator)
        t = torch.randint(len(kept), (batch,), generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        a = kept[t][:, None, None, None]
        loss = F.mse_loss(unet(networks.laid_out(a.sqrt() * images + (1 - a).sqrt() * noise), t), noise)
        losses.append(_step(optimizer, loss))
    return {"loss": losses}


def train_dcgan(networks: Networks, dataset: ImageDataset, batch: int, steps: int, seed: int) -> Losses:
    """Radford et al. 2016 as PyTorch's example has it: two batches a critic's step, Adam at 2e-4, beta 0.5."""
    networks.restart(seed)
    (generate, score), batches = networks.calls, ImageBatches(dataset, batch, 0.0, flip=False)
    of_generator, of_critic = (
        torch.optim.Adam(module.parameters(), 2e-4, (0.5, 0.999)) for module in networks.modules
    )
    latent = next(networks.modules[0].parameters()).shape[0]
    losses: Losses = {"generator": [], "critic": []}
    for step in range(steps):
        generator = step_generator(seed, step)
        images, _ = batches.draw(generator)
        made = generate(torch.randn(batch, latent, 1, 1, generator=generator))
        real, fake = score(networks.laid_out(images)), score(made.detach())
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        losses["critic"].append(_step(of_critic, loss))
        losses["generator"].append(_step(of_generator, F.softplus(-score(made)).mean()))
    return losses


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item()


def loss_rows(
    workload: str,
    makers: Sequence[Callable[[], nn.Module]],
    train: Callable[..., Losses],
    dataset: ImageDataset,
    batch: int,
    steps: int,
    seeds: int,
    told: Callable[[str, int], None] = lambda who, seed: None,
) -> list[LossCurveRow]:
    """A row for each of a training's losses; `told` of every run before it begins.

    ValueError for less than two seeds, which have no spread, and for less steps than make a point.
    """
    if seeds < 2 or steps < BLOCK:
        raise ValueError(f"seeds is {seeds} and steps is {steps}, expected at least 2 and {BLOCK}")
    runs: dict[str, list[Losses]] = {}
    for who in (EAGER, OURS, CONTROL):
        networks, runs[who] = Networks(who, makers), []
        for seed in range(seeds):
            told(who, seed)
            runs[who].append(train(networks, dataset, batch, steps, seed))
    shape = (batch, *dataset.image_shape)
    return [
        _row(f"{workload} {name}", shape, steps, {who: _curves(runs[who], name) for who in runs})
        for name in runs[OURS][0]
    ]


def _curves(runs: Sequence[Losses], name: str) -> Tensor:
    """(seeds, points), float64."""
    losses = torch.tensor([run[name] for run in runs], dtype=torch.float64)
    whole = losses.shape[1] // BLOCK * BLOCK
    return losses[:, :whole].reshape(len(runs), -1, BLOCK).mean(2)


def _row(workload: str, shape: tuple[int, ...], steps: int, curves: dict[str, Tensor]) -> LossCurveRow:
    eager = curves[EAGER]
    spread, others = eager.std(0), [who for who in curves if who != EAGER]
    return LossCurveRow(
        op="loss_curve",
        workload=workload,
        shape=shape,
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        steps=steps,
        block=BLOCK,
        seeds=len(eager),
        means={who: curve.mean(0).tolist() for who, curve in curves.items()},
        spread=spread.tolist(),
        deviation={who: float(((curves[who] - eager).mean(0).abs() / spread).max()) for who in others},
        apart={who: float(((curves[who] - eager) / spread).square().mean().sqrt()) for who in others},
    )
