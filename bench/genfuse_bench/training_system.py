"""A row of `genfuse bench training`: a whole step of `genfuse train ddpm`, by our kernels and by PyTorch's."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import nn

import genfuse
from genfuse.systems.ddpm import DDPM, DDPMConfig
from genfuse.train.config import TrainConfig
from genfuse.train.draws import Draws
from genfuse.train.ema import Ema
from genfuse_bench.timing import Effort, measure
from genfuse_bench.training import OURS, TrainingRow, row_of

SHAPE, CLASSES = (32, 3, 32, 32), 10


class SystemStep:
    """Loss, backward, clipping, AdamW and averaging of the default system on random pictures."""

    def __init__(self, who: str) -> None:
        config = DDPMConfig()
        config = replace(config, model=replace(config.model, num_classes=CLASSES))
        self._who, self._train = who, TrainConfig()
        self._system = DDPM(config, SHAPE[1:], tuple(str(i) for i in range(CLASSES)))
        self._parameters = list(self._system.model.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, self._train.learning_rate, fused=True)
        self._ema = Ema(self._system.model, self._train.ema_decay)
        self._generator = torch.Generator().manual_seed(0)
        self._images = torch.rand(SHAPE, generator=self._generator) * 2 - 1
        self._labels = torch.randint(CLASSES, SHAPE[:1], generator=self._generator)

    def begin(self) -> None:
        """The gradients of the last step go."""
        self._optimizer.zero_grad()

    def step(self, i: int) -> None:
        """All that `genfuse train` does with a batch."""
        with nullcontext() if self._who == OURS else genfuse.backend("aten"):
            self._backward()
            nn.utils.clip_grad_norm_(self._parameters, self._train.grad_clip)
            self._optimizer.step()
            self._ema.update(self._system.model, 100 + i)

    def _backward(self) -> torch.Tensor:
        loss = self._system.loss(self._images, self._labels, Draws(self._generator))
        torch.autograd.backward(loss)
        return loss.detach()

    def first_gradient(self) -> torch.Tensor:
        """Of all parameters, with what the first step draws."""
        with nullcontext() if self._who == OURS else genfuse.backend("aten"):
            self._generator.manual_seed(1)
            self.begin()
            self._backward()
        return torch.cat([p.grad.flatten() for p in self._parameters if p.grad is not None])


def system_row(effort: Effort) -> TrainingRow:
    """Ours beside PyTorch's kernels, held against these: their error is not known, and counts as none."""
    steps = {who: SystemStep(who) for who in (OURS, "PyTorch's kernels")}
    ours, theirs = (step.first_gradient() for step in steps.values())
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    taken = measure(dict(steps), range(1), torch.device("cpu"), effort)
    return row_of("training_system", "genfuse train ddpm", SHAPE, taken, error, float("nan"), {})
