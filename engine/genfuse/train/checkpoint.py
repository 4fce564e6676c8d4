"""Checkpoints: safetensors with what is needed to use them, read without running anything that is in them.

A checkpoint for use is one file: averaged weights under ``ema.`` and, while training, all of a system's state under its
own names (``model.``, ``critic.``), and in the file's metadata one JSON object. A checkpoint to resume from is a folder
``step-00001000`` with that file and ``optimizer.safetensors`` beside it; the folder is written under another name and
renamed, so a run that is killed at any moment leaves whole checkpoints only.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genfuse.data.atomic import atomic_path, sync
from genfuse.errors import CheckpointError
from genfuse.train.optimizers import STATE

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STEP_NAME = re.compile("step-[0-9]{8,}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's contents, in memory.

    Attributes:
        path: the file they came from.
        metadata: ``format_version``, ``system``, ``step`` and what the system put there.
        tensors: by name, as stored.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        """Optimizer steps behind it. CheckpointError where the metadata does not say."""
        step = self.metadata.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise CheckpointError(f"{self.path} has step {step!r}, expected a count of steps: copy it anew")
        return step

    def restore(self, module: nn.Module, prefix: str = "ema") -> None:
        """Copy the weights stored under ``prefix.`` into ``module`` (converted to its dtype).

        Args:
            module: their owner.
            prefix: "" for all that is not averaged: a whole system's state.

        Raises:
            CheckpointError: see :meth:`check`; ``module`` is unchanged.
        """
        self.check(module, prefix)
        start = f"{prefix}." if prefix else ""
        module.load_state_dict({name: self.tensors[start + name] for name in module.state_dict()})

    def check(self, module: nn.Module, prefix: str = "ema") -> None:
        """Whether the weights under ``prefix.`` fit ``module``, whose tensors may be on the meta device.

        Raises:
            CheckpointError: a weight is missing, left over, of another shape or kind, or not finite.
        """
        start = f"{prefix}." if prefix else ""
        expected = {start + name: tensor for name, tensor in module.state_dict().items()}
        stored = {
            name: tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start) and (prefix or not name.startswith("ema."))
        }
        _check_tensors(self.path, stored, expected, "made for another network")


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint: a file, or a folder ``step-00001000``, or a run's folder (then its newest checkpoint).

    Raises:
        CheckpointError: nothing is there, or it is truncated, not safetensors, without metadata, or of an
            unknown version.
    """
    file = _model_file(Path(path))
    metadata, tensors = _read(file)
    if metadata.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file} has format_version {metadata.get('format_version')!r}, this genfuse reads "
            f"{FORMAT_VERSION}: use the genfuse that made it, or a newer one"
        )
    return Checkpoint(file, metadata, tensors)


def save(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write one file, whole or not at all. ``metadata`` must be JSON; ``format_version`` is added."""
    with atomic_path(Path(path)) as temporary:
        _write(temporary, tensors, metadata)


def export(source: str | Path, path: str | Path) -> None:
    """Write the averaged weights of checkpoint ``source`` to one file, in float16: half the size, to ship.

    Raises:
        CheckpointError: see :func:`load`; or a weight is too large for float16.
    """
    loaded = load(source)
    averaged = {name: tensor.half() for name, tensor in loaded.tensors.items() if name.startswith("ema.")}
    for name, tensor in averaged.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{loaded.path}: tensor {name} is not finite in float16")
    save(path, averaged, loaded.metadata)


def save_step(
    run: Path,
    step: int,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    optimizers: Mapping[str, torch.optim.Optimizer],
    keep: int,
) -> Path:
    """Write ``run/step-<step>`` with weights and optimizers, and remove all but the ``keep`` newest of such."""
    folder = run / f"step-{step:08d}"
    unfinished = run / f".{folder.name}.tmp"
    for left in (unfinished, *run.glob(".step-*.gone")):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write(unfinished / MODEL_FILE, tensors, metadata)
    _write(unfinished / OPTIMIZER_FILE, _optimizer_tensors(optimizers), {"step": step})
    for part in (unfinished / MODEL_FILE, unfinished / OPTIMIZER_FILE, unfinished):
        sync(part)
    if folder.exists():
        _remove(folder)
    unfinished.replace(folder)
    sync(run)
    for old in step_folders(run)[:-keep]:
        _remove(old)
    return folder


def _remove(folder: Path) -> None:
    """Under another name first: a half of it is never taken for a checkpoint."""
    gone = folder.with_name(f".{folder.name}.gone")
    folder.replace(gone)
    shutil.rmtree(gone)


def step_folders(run: Path) -> list[Path]:
    """A run's whole checkpoints, oldest first: folders named as :func:`save_step` does, no others beside them."""
    found = [folder for folder in run.glob("step-*") if STEP_NAME.fullmatch(folder.name) and folder.is_dir()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def restore_optimizers(checkpoint: Checkpoint, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Give the optimizers the state stored beside ``checkpoint``.

    Raises:
        CheckpointError: that file is missing, unreadable, of another step, or does not fit the optimizers'
            parameters; they are unchanged.
    """
    file = checkpoint.path.parent / OPTIMIZER_FILE
    _, tensors = _read(file)
    owners = {
        f"{_prefix(name, optimizers)}{number}": (name, number, parameter)
        for name, optimizer in optimizers.items()
        for number, parameter in enumerate(_parameters(optimizer))
    }
    expected = {
        f"{owner}.{key}": torch.zeros(()) if key == "step" else parameter
        for owner, (name, _, parameter) in owners.items()
        for key in STATE[type(optimizers[name])]
    }
    _check_tensors(file, tensors, expected, "delete the run's folder and start anew")
    state: dict[str, dict[int, dict[str, Tensor]]] = {name: defaultdict(dict) for name in optimizers}
    for full, tensor in tensors.items():
        owner, _, key = full.rpartition(".")
        name, number, _ = owners[owner]
        # Each optimizer of several is updated once a step or more often, the only one of a system exactly once.
        if key == "step" and (
            tensor.item() < checkpoint.step or (len(optimizers) == 1 and tensor.item() != checkpoint.step)
        ):
            raise CheckpointError(
                f"{file}: tensor {full} is {tensor.item():g}, the weights beside it are of step "
                f"{checkpoint.step}: the two files do not belong together"
            )
        state[name][number][key] = tensor
    for name, optimizer in optimizers.items():
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": dict(state[name]), "param_groups": groups})


def _check_tensors(file: Path, stored: dict[str, Tensor], expected: dict[str, Tensor], advice: str) -> None:
    """CheckpointError unless the names agree, and under each a tensor of equal shape and kind, finite."""
    for name in sorted(expected.keys() ^ stored.keys()):
        problem = "lacks" if name in expected else "has an unknown"
        raise CheckpointError(f"{file} {problem} tensor {name}: {advice}")
    for name, tensor in expected.items():
        found = stored[name]
        if found.shape != tensor.shape:
            raise CheckpointError(
                f"{file}: tensor {name} has shape {tuple(found.shape)}, the network expects "
                f"{tuple(tensor.shape)}: {advice}"
            )
        if found.is_floating_point() != tensor.is_floating_point():
            raise CheckpointError(
                f"{file}: tensor {name} has dtype {found.dtype}, expected one like {tensor.dtype}: {advice}"
            )
        if not torch.isfinite(found).all():
            raise CheckpointError(
                f"{file}: tensor {name} is not finite, nothing good would come of it: take an earlier "
                "checkpoint, or copy it anew"
            )


def _optimizer_tensors(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{_prefix(name, optimizers)}{number}.{key}": tensor
        for name, optimizer in optimizers.items()
        for number, values in optimizer.state_dict()["state"].items()
        for key, tensor in values.items()
    }


def _prefix(name: str, optimizers: Mapping[str, torch.optim.Optimizer]) -> str:
    """Of the names of an optimizer's tensors: a system's only one has none."""
    return f"{name}." if len(optimizers) > 1 else ""


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    described = json.dumps({"format_version": FORMAT_VERSION, **metadata}, sort_keys=True)
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"genfuse": described}
        )
    except SafetensorError as error:  # of a full disk, say
        raise OSError(f"{path} cannot be written ({error}); earlier checkpoints are whole") from None


def _model_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    steps = step_folders(path)
    if not steps and not (path / MODEL_FILE).is_file():
        raise CheckpointError(f"{path} holds no checkpoint (no {MODEL_FILE} and no folder step-00001000)")
    return (steps[-1] if steps else path) / MODEL_FILE


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not file.is_file():
        raise CheckpointError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as opened:
            described = (opened.metadata() or {}).get("genfuse")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({error}): truncated, or no checkpoint; copy it anew"
        ) from error
    if described is None:
        raise CheckpointError(f"{file} carries no genfuse metadata: it was not written by genfuse")
    try:
        metadata = json.loads(described)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file} carries metadata that is not JSON as genfuse writes it ({error}): copy it anew"
        ) from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{file} carries metadata that is no JSON object: genfuse did not write it")
    return metadata, tensors
