"""What a training run is told, beside its system and its data."""

from __future__ import annotations

import math
from dataclasses import dataclass

_COUNTS = ("steps", "batch_size", "accumulate", "log_every", "preview_every", "checkpoint_every", "keep")


@dataclass(frozen=True)
class RunConfig:
    """What every run is told.

    Attributes:
        steps: steps in all; what a step is, the system says.
        batch_size: samples a batch, of all processes together.
        accumulate: parts that each process computes its samples of a batch in, one after another, adding up their
            gradients: what lives at once is one part's. A multiple of this and of the processes is ``batch_size``.
            Batch norm goes by each part.
        warmup_steps: steps over which all learning rates rise linearly from zero.
        cooldown_steps: steps at the end over which they fall linearly to zero; 0 keeps them constant.
        grad_clip: largest Euclidean norm of an update's gradients together; infinity clips none.
        ema_decay: of the averaged weights, reached gradually: min(ema_decay, (1 + step) / (10 + step)).
        class_balance: 0 draws every picture equally often, 1 every class, values between lie between.
        flip: mirror half of the pictures that may be mirrored.
        seed: of everything random, in [-2**63, 2**64). Step s draws from (seed, s) alone.
        log_every, preview_every, checkpoint_every: in steps; the last step does all three.
        keep: checkpoints kept, newest first.
    """

    steps: int = 2000
    batch_size: int = 64
    accumulate: int = 1
    warmup_steps: int = 0
    cooldown_steps: int = 0
    grad_clip: float = math.inf
    ema_decay: float = 0.995
    class_balance: float = 0.0
    flip: bool = True
    seed: int = 0
    log_every: int = 20
    preview_every: int = 500
    checkpoint_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("warmup_steps", "cooldown_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 0")
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed is {self.seed}, expected a whole number in [-2**63, 2**64)")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}, expected a number in [0, 1)")
        if not 0 <= self.class_balance <= 1:
            raise ValueError(f"class_balance is {self.class_balance}, expected a number in [0, 1]")
        if not self.grad_clip > 0:
            raise ValueError(f"grad_clip is {self.grad_clip}, expected more than 0")

    def rate_factor(self, step: int) -> float:
        """The share of its learning rate that an optimizer has at step ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cool = min(1.0, (self.steps - step) / max(1, self.cooldown_steps))
        return min(warm, cool)


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """A run of one network by AdamW, as :class:`RunConfig` and

    Attributes:
        learning_rate: AdamW's, between warm-up and cool-down.
        weight_decay: AdamW's.
        betas: AdamW's.
    """

    steps: int = 17_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    cooldown_steps: int = 4000
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0
    ema_decay: float = 0.9995
    class_balance: float = 0.5
    log_every: int = 50
    preview_every: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, expected more than 0")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step ``step``, counted from 0."""
        return self.learning_rate * self.rate_factor(step)
