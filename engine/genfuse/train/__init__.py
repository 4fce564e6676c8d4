"""Training: what a system is, the loop, the averaged weights, and checkpoints that survive being killed."""

from __future__ import annotations

from genfuse.train.checkpoint import Checkpoint, load, save
from genfuse.train.config import RunConfig, TrainConfig
from genfuse.train.ema import Ema
from genfuse.train.loop import Trainer, train
from genfuse.train.optimizers import Adam, RMSProp
from genfuse.train.step import Step
from genfuse.train.system import System

__all__ = [
    "Adam",
    "Checkpoint",
    "Ema",
    "RMSProp",
    "RunConfig",
    "Step",
    "System",
    "TrainConfig",
    "Trainer",
    "load",
    "save",
    "train",
]
