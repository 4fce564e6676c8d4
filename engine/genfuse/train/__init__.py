"""Training: the loop, the averaged weights, and checkpoints that survive being killed."""

from __future__ import annotations

from genfuse.train.checkpoint import Checkpoint, load, save
from genfuse.train.config import TrainConfig
from genfuse.train.ema import Ema
from genfuse.train.loop import System, Trainer

__all__ = ["Checkpoint", "Ema", "System", "TrainConfig", "Trainer", "load", "save"]
