"""The training loop: the same for every system that has a model and a loss."""

from __future__ import annotations

import dataclasses
import json
import reprlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from genfuse.data.atomic import atomic_path, check_folder
from genfuse.data.dataset import ImageDataset
from genfuse.data.grid import save_grid
from genfuse.errors import CheckpointError
from genfuse.ops import clip_grad_norm
from genfuse.rollback import rollback_on_failure
from genfuse.train import checkpoint
from genfuse.train.batches import Batches, step_generator
from genfuse.train.config import TrainConfig
from genfuse.train.ema import Ema

METRICS_FILE = "metrics.jsonl"
MAY_CHANGE = {
    "format_version",
    "step",
    "data.attribution",
    *(f"train.{name}" for name in ("steps", "log_every", "preview_every", "checkpoint_every", "keep")),
}
"""What a resumed run may have otherwise than it was started: none of it changes a step already taken."""


class System(Protocol):
    """What the loop needs of a system."""

    @property
    def model(self) -> nn.Module:
        """The network whose weights are trained."""

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A scalar to minimise; everything random is drawn from ``generator``."""

    def preview(self, model: nn.Module) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] that show what ``model`` (averaged weights) can do."""

    def metadata(self) -> dict[str, Any]:
        """JSON that a later process needs to use the weights; has ``system``, the system's name."""


class Trainer:
    """One run in one folder: ``metrics.jsonl``, ``samples-<step>.png`` and ``step-<step>/`` appear there.

    Runs of equal system, data, config, machine and thread count give equal bits, resumed or not.

    Args:
        system: what is trained.
        dataset: on what.
        config: how.
        run: the folder; made if missing.
        resume: continue from the newest checkpoint in ``run``.

    Raises:
        ValueError: ``run`` holds checkpoints and ``resume`` is false, or is no folder that can be written to.
        CheckpointError: ``resume`` and there is none, or the run was started with other settings: all but
            ``steps``, the intervals and ``keep`` must be what they were.
    """

    def __init__(
        self, system: System, dataset: ImageDataset, config: TrainConfig, run: Path, resume: bool = False
    ) -> None:
        check_folder("run", run)
        if not resume and checkpoint.step_folders(run):
            raise ValueError(f"{run} holds checkpoints of an earlier run: resume it, or name another folder")
        self.system, self.config, self.run = system, config, run
        self.source = {
            "name": dataset.name,
            "pictures": len(dataset),
            "digest": dataset.digest(),
            "attribution": dataset.attribution,
        }
        self.batches = Batches(dataset, config.batch_size, config.class_balance, config.flip)
        self.ema = Ema(system.model, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            system.model.parameters(),
            config.learning_rate,
            config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step = self._restore() if resume else 0
        run.mkdir(parents=True, exist_ok=True)

    def train(self, on_step: Callable[[int, float], None] | None = None) -> None:
        """Train to ``config.steps``; ``on_step(steps done, loss)`` is called after each."""
        if self.step >= self.config.steps:
            print(
                f"{self.run} is at step {self.step} already and steps is {self.config.steps}: nothing to do; "
                "more steps go on from there"
            )
            return
        began, first = time.monotonic(), self.step
        with _progress() as progress:
            task = progress.add_task("training", total=self.config.steps, completed=first, shown="")
            while self.step < self.config.steps:
                loss = self._advance()
                speed = (self.step - first) * self.config.batch_size / (time.monotonic() - began)
                shown = f"loss {loss:.4f}, {speed:.0f} pictures/s"
                progress.update(task, completed=self.step, shown=shown)
                self._report(loss, speed)
                if on_step is not None:
                    on_step(self.step, loss)

    def _advance(self) -> float:
        """One optimizer step; returns its loss. One that fails leaves weights, buffers and averages as they were."""
        model, config = self.system.model, self.config
        generator = step_generator(config.seed, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(self.step)
        with rollback_on_failure(model):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.system.loss(*self.batches.draw(generator), generator)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = clip_grad_norm(model.parameters(), config.grad_clip)
            if not torch.isfinite(norm):
                raise FloatingPointError(
                    f"the gradient of step {self.step} is not finite (loss {loss.item()}): lower learning_rate "
                    f"and resume from the last checkpoint in {self.run}"
                )
            self.optimizer.step()
        self.ema.update(model, self.step)
        self.step += 1
        return loss.item()

    def _report(self, loss: float, speed: float) -> None:
        """Log, preview and checkpoint where this step is due."""
        config = self.config

        def due(every: int) -> bool:
            return self.step % every == 0 or self.step == config.steps

        if due(config.log_every):
            row = {"step": self.step, "loss": loss, "pictures_per_second": speed, "time": time.time()}
            with (self.run / METRICS_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if due(config.checkpoint_every):
            self._save()
        if due(config.preview_every):
            save_grid(self.system.preview(self.ema.model), self.run / f"samples-{self.step:08d}.png", scale=2)

    def _save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.system.model.state_dict().items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.model.state_dict().items()}
        metadata = {**self._settings(), "step": self.step}
        checkpoint.save_step(self.run, self.step, tensors, metadata, self.optimizer, self.config.keep)

    def _settings(self) -> dict[str, Any]:
        """What makes this run, as JSON."""
        return {**self.system.metadata(), "train": dataclasses.asdict(self.config), "data": self.source}

    def _restore(self) -> int:
        """Load the newest checkpoint; returns the steps it has behind it."""
        if not checkpoint.step_folders(self.run):
            raise CheckpointError(f"{self.run} holds no checkpoint to resume from: start it without resume")
        loaded = checkpoint.load(self.run)
        self._refuse_other_settings(loaded)
        loaded.restore(self.system.model, "model")
        loaded.restore(self.ema.model, "ema")
        checkpoint.restore_optimizer(loaded, self.optimizer)
        self._forget_metrics_after(loaded.step)
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

    def _forget_metrics_after(self, step: int) -> None:
        """Drop the rows of steps that will be taken again; a row that was cut off goes too, and blank lines.

        CheckpointError for a line that is no row; the file is unchanged.
        """
        file = self.run / METRICS_FILE
        if not file.is_file():
            return
        lines = file.read_bytes().split(b"\n")[:-1]
        steps = [_logged_step(file, number, line) for number, line in enumerate(lines, 1)]
        kept = [
            line + b"\n" for line, logged in zip(lines, steps, strict=True) if logged <= step and line.strip()
        ]
        with atomic_path(file) as temporary:
            temporary.write_bytes(b"".join(kept))


def _logged_step(file: Path, number: int, line: bytes) -> int:
    """The step of a line of metrics, 0 where it is blank."""
    if not line.strip():
        return 0
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int) or isinstance(step, bool):
        raise CheckpointError(
            f"{file}, line {number} is {reprlib.repr(line)}, expected a JSON object with a step: remove the line"
        )
    return step


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, its names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
    )
