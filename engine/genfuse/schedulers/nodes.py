"""Schedulers that only know the noise levels of the nodes they step over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from genfuse.samplers.forward import Forward
from genfuse.samplers.table import Table
from genfuse.schedulers.base import Scheduler, Timestep
from genfuse_kernels.sampler_step.row import COLUMN, TERMS, S, Y


class NodeScheduler(Scheduler):
    """add_noise goes to the level of a node: the one due in image-to-image, else each timestep's own."""

    def _make_forward(self) -> Forward:
        return Forward(self._grid.alpha, self._grid.sigma)

    def _levels(self, timesteps: Tensor, sample: Tensor) -> Tensor:
        count = sample.shape[0]
        if self._begin_index is not None:
            rows = [self._begin_index if self._step_index is None else self._step_index] * count
        else:
            rows = [
                self._find(timestep)
                for timestep in torch.as_tensor(timesteps, device="cpu").reshape(-1).tolist()
            ]
            rows = rows * count if len(rows) == 1 else rows
        if len(rows) != count:
            raise ValueError(f"timesteps has {len(rows)} elements, expected {count}: one a sample")
        return torch.tensor(rows, dtype=torch.int64, device=sample.device)


def sigma_kind(config: Mapping[str, Any]) -> str | None:
    """The one of karras, exponential and beta that a configuration asks for. ValueError for two."""
    kinds = [kind for kind in ("karras", "exponential", "beta") if config.get(f"use_{kind}_sigmas")]
    if len(kinds) > 1:
        raise ValueError(
            f"use_{kinds[0]}_sigmas and use_{kinds[1]}_sigmas are both True, expected at most one of them"
        )
    return kinds[0] if kinds else None


def reject_flow(config: Mapping[str, Any], kind: str | None) -> None:
    """ValueError for flow sigmas beside those of a kind: one of the two chooses the nodes."""
    if kind is not None and config["use_flow_sigmas"]:
        raise ValueError(f"use_flow_sigmas is True beside {kind} sigmas, expected at most one of them")


def second_output_rows(table: Table) -> Tensor:
    """(R, 32): the table's rows with their second output as the first, and nothing stored."""
    rows = table.rows.clone()
    rows[:, Y : Y + len(TERMS)] = rows[:, S : S + len(TERMS)]
    rows[:, S : S + len(TERMS)], rows[:, COLUMN["store"]] = 0, -1
    return rows


def reject_whole(timestep: Timestep) -> None:
    """ValueError for a whole number where timesteps are not: a position from enumerate(timesteps)."""
    whole = isinstance(timestep, Tensor) and not timestep.is_floating_point()
    if whole or isinstance(timestep, int):
        raise ValueError(
            f"timestep is {timestep!r}, expected one of scheduler.timesteps (a float): positions from "
            "enumerate(timesteps) are not timesteps"
        )
