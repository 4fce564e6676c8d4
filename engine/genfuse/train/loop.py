"""The training loop: the same for every system."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from genfuse import processes
from genfuse.data.atomic import atomic_path, check_folder
from genfuse.data.dataset import Data
from genfuse.data.grid import image_grid, save_pixels
from genfuse.data.scatter import scatter
from genfuse.errors import CheckpointError
from genfuse.rollback import rollback_on_failure
from genfuse.train import checkpoint, metrics
from genfuse.train.batches import batches_of
from genfuse.train.config import RunConfig
from genfuse.train.ema import Ema
from genfuse.train.step import Step, Updates
from genfuse.train.system import System
from genfuse.train.tensorboard import Board
from genfuse.train.turns import Turns

_INTERVALS = ("steps", "accumulate", "log_every", "preview_every", "checkpoint_every", "keep")
MAY_CHANGE = {
    "format_version",
    "step",
    "data.attribution",
    *(f"train.{name}" for name in _INTERVALS),
}
"""What a resumed run may have otherwise than it was started: none of it changes a step already taken."""

_System = TypeVar("_System", bound=System[Any])


def train(
    system_class: type[_System],
    data: Data,
    run: str | Path,
    config: Any = None,
    train_config: RunConfig | None = None,
    resume: bool = False,
    device: str | torch.device = "cpu",
) -> _System:
    """Train a system on ``data`` in the folder ``run`` (see :class:`Trainer`); returns it.

    ``config`` and ``train_config`` are the system's own for such data where left out. ValueError for samples that its
    networks cannot take; see also ``Trainer``.
    """
    system_class.check_views(data)
    defaults = system_class.defaults(data.image_shape)
    config, train_config = config or defaults[0], train_config or defaults[1]
    fitted = system_class.fitted(config, data)
    system = system_class(fitted, data.image_shape, data.class_names, train_config.seed)
    Trainer(system, data, train_config, Path(run), resume, device).train()
    return system


class Trainer:
    """One run in one folder: metrics and their curves, ``samples-<step>.png`` and ``step-<step>/`` appear there.

    Samples that are text are ``samples-<step>.txt``.
    Runs of equal system, data, config, machine and thread count give equal bits, resumed or not. Where
    `torch.distributed` is initialised the processes share each batch, the first one's samples first, and batch norms
    are synchronised: losses and weights are those of one process, to rounding, but where a loss ties samples together
    that are not one process's (a repelling term, `MinibatchStdDev`) or dropout, whose masks are each process's own. The
    first one writes the run's folder, which others read to resume; their number may be another then.

    Args:
        system: what is trained.
        data: on what.
        config: how.
        run: the folder; made if missing.
        resume: continue from the newest checkpoint in ``run``.
        device: where it is trained.

    Raises:
        ValueError: ``run`` holds checkpoints and ``resume`` is false, or is no folder that can be written to;
            ``batch_size`` has no equal shares for all processes and parts.
        CheckpointError: ``resume`` and there is none, or the run was started with other settings: all but
            ``steps``, the intervals and ``keep`` must be what they were.
    """

    def __init__(
        self,
        system: System[Any],
        data: Data,
        config: RunConfig,
        run: Path,
        resume: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        check_folder("run", run)
        self._processes, self._device = processes.here(), torch.device(device)
        self._check_shares(config)
        if not resume and checkpoint.step_folders(run):
            raise ValueError(f"{run} holds checkpoints of an earlier run: resume it, or name another folder")
        if self._processes.world > 1:
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm  # untyped in PyTorch
            system = convert(system)
        self.system, self.config, self.run = system.train().to(self._device), config, run
        self.source = data.described()
        system.see(data)
        self.batches = batches_of(data, config)
        self.ema = Ema(system.averaged, config.ema_decay)
        self.updates = Updates(system.optimizers(config), config)
        self.step = self._restore() if resume else 0
        self._processes.wait()  # all have read what is there
        run.mkdir(parents=True, exist_ok=True)

    def _check_shares(self, config: RunConfig) -> None:
        shares = self._processes.world * config.accumulate
        if config.batch_size % shares:
            raise ValueError(
                f"batch_size is {config.batch_size}, expected a multiple of {shares}: {self._processes.world} "
                f"processes, each of which takes its samples in accumulate={config.accumulate} parts"
            )

    def train(self, on_step: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to ``config.steps``; ``on_step(steps done, what the step logged)`` is called after each."""
        if self.step >= self.config.steps:
            self._say(
                f"{self.run} is at step {self.step} already and steps is {self.config.steps}: nothing to do; "
                "more steps go on from there"
            )
            return
        if not metrics.can_draw():
            self._say("matplotlib is not installed, no curves are drawn: pip install 'genfuse[train]'")
        began, first = time.monotonic(), self.step
        board = Board(self.run, self.step) if self._processes.is_first else None
        with _progress(disable=board is None) as progress:
            task = progress.add_task("training", total=self.config.steps, completed=first, shown="")
            while self.step < self.config.steps:
                numbers = self._advance()
                speed = (self.step - first) * self.config.batch_size / (time.monotonic() - began)
                shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in numbers.items())
                progress.update(task, completed=self.step, shown=f"{shown}, {speed:.0f} samples/s")
                if board is not None:
                    self._report(numbers, speed, board)
                if on_step is not None:
                    on_step(self.step, numbers)
        if board is not None:
            board.close()
        self._processes.wait()  # the last checkpoint is written

    def _say(self, message: str) -> None:
        if self._processes.is_first:
            print(message)

    def _advance(self) -> dict[str, float]:
        """One step; returns what it logged. One that fails leaves buffers and averages as they were.

        Weights too, but for those that an update of the step had changed before another failed.
        """
        turns = Turns(self.config.accumulate)
        parts = [
            Step(self.step, self.batches, self.updates, part=part, turns=turns, device=self._device)
            for part in range(turns.count)
        ]
        devices = [self._device] if self._device.type == "cuda" else []
        with rollback_on_failure(self.system), torch.random.fork_rng(devices):
            # What draws from PyTorch's own, as dropout does: each process has other samples, and masks of its own.
            torch.manual_seed(parts[0].generator.initial_seed() + self._processes.rank)
            try:
                turns.run(lambda part: self.system.step(parts[part]))
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"{error} and resume from the last checkpoint in {self.run}"
                ) from None
            numbers = self._averaged(parts)
        self.ema.update(self.system.averaged, self.step)
        self.step += 1
        return numbers

    def _averaged(self, parts: list[Step]) -> dict[str, float]:
        """What the step logged, the mean over parts and processes; and so are the system's buffers then.

        Most are the same in all processes already; a running mean of something else than a batch norm's is not.
        """
        each = [[value.item() for value in part.numbers.values()] for part in parts]
        values = torch.tensor(each, dtype=torch.float64).mean(0)
        self._processes.average([values, *(b for b in self.system.buffers() if b.is_floating_point())])
        return dict(zip(parts[0].numbers, values.tolist(), strict=True))

    def _report(self, numbers: dict[str, float], speed: float, board: Board) -> None:
        """Log, preview and checkpoint where this step is due."""
        config = self.config

        def due(every: int) -> bool:
            return self.step % every == 0 or self.step == config.steps

        if due(config.log_every):
            row = {"step": self.step, **numbers, "pictures_per_second": speed, "time": time.time()}
            metrics.append(self.run, row)
            board.numbers(self.step, numbers)
        if due(config.checkpoint_every):
            self._save()
        if due(config.preview_every):
            self._preview(board)

    def _preview(self, board: Board) -> None:
        with torch.no_grad():
            shown = self.system.preview(self.ema.model)
        if isinstance(shown, tuple):
            with atomic_path(self.run / f"samples-{self.step:08d}.txt") as temporary:
                temporary.write_text("".join(f"{line}\n" for line in shown), encoding="utf-8")
        else:
            self._save_grid(shown, board)
        if metrics.can_draw():
            metrics.draw(self.run)

    def _save_grid(self, shown: Tensor, board: Board) -> None:
        grid = image_grid(shown if shown.ndim == 4 else scatter(shown), self.system.columns, 2)
        save_pixels(grid, self.run / f"samples-{self.step:08d}.png")
        board.picture(self.step, grid)

    def _save(self) -> None:
        tensors = dict(self.system.state_dict())
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.model.state_dict().items()}
        metadata = {**self._settings(), "step": self.step}
        optimizers = self.updates.optimizers
        checkpoint.save_step(self.run, self.step, tensors, metadata, optimizers, self.config.keep)

    def _settings(self) -> dict[str, Any]:
        """What makes this run, as JSON."""
        return {**self.system.metadata(), "train": dataclasses.asdict(self.config), "data": self.source}

    def _restore(self) -> int:
        """Load the newest checkpoint; returns the steps it has behind it."""
        if not checkpoint.step_folders(self.run):
            raise CheckpointError(f"{self.run} holds no checkpoint to resume from: start it without resume")
        loaded = checkpoint.load(self.run)
        self._refuse_other_settings(loaded)
        loaded.restore(self.ema.model, "ema")
        loaded.restore(self.system, "")
        checkpoint.restore_optimizers(loaded, self.updates.optimizers)
        if self._processes.is_first:
            metrics.forget_after(self.run, loaded.step)
        return loaded.step

    def _refuse_other_settings(self, loaded: checkpoint.Checkpoint) -> None:
        """A run that goes on otherwise than it began would be neither run."""
        now = _flat(json.loads(json.dumps(self._settings())))
        for name, was in _flat(loaded.metadata).items():
            if name not in MAY_CHANGE and was != now.get(name):
                raise CheckpointError(
                    f"{self.run} was started with {name} {was!r}, now it is {now.get(name)!r}: resume with what "
                    "it was started with, or start a run in another folder"
                )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, its names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _progress(disable: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
        disable=disable,
    )
