"""A sampler as a table: one row of coefficients a model call, built in float64 on the host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from genfuse.samplers.combination import ZERO, Combination
from genfuse.samplers.prediction import Prediction
from genfuse_kernels.sampler_step.row import COLUMN, HISTORY_SLOTS, ROW, TERMS, S, Y


@dataclass(frozen=True)
class Clip:
    """What happens to the predicted x0: a fixed range, a dynamic threshold (Saharia et al. 2022), nothing."""

    minimum: float = -np.inf
    maximum: float = np.inf
    quantile: float = 0.0
    threshold_max: float = 1.0


NO_CLIP = Clip()


@dataclass(frozen=True, eq=False)
class Table:
    """A whole sampler.

    rows       (R, 32) float64, one row a model call; columns `row.COLUMNS`
    timesteps  (R,) float64: the time the model is given before each row
    input_scale (R,) float64: what the sample is multiplied by before the model sees it (1: nothing)
    init_scale the standard deviation of the sample that the loop starts from
    """

    rows: torch.Tensor
    timesteps: NDArray[np.float64]
    input_scale: NDArray[np.float64]
    init_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def history_slots(self) -> int:
        """Stored tensors that a run needs, 0 to 4; where rows read any, also those that are only written."""
        reads = [
            slot + 1
            for slot in range(HISTORY_SLOTS)
            if bool(self.rows[:, [COLUMN[f"y_h{slot}"], COLUMN[f"s_h{slot}"]]].any())
        ]
        stored = int(self.rows[:, COLUMN["store"]].max()) + 1 if reads else 0
        return max([0, stored, *reads])

    @property
    def stochastic(self) -> bool:
        """Whether any row adds noise."""
        noise = [COLUMN[f"{output}_{term}"] for output in "ys" for term in ("noise", "noise_prev")]
        return bool(self.rows[:, noise].any())

    def with_guidance(self, guidance: float, rescale: float = 0.0) -> Table:
        """The same sampler with a classifier-free guidance scale and rescale φ in every row.

        ValueError unless guidance is finite and rescale in [0, 1].
        """
        if not np.isfinite(guidance):
            raise ValueError(f"guidance is {guidance}, expected a finite number")
        if not 0 <= rescale <= 1:
            raise ValueError(f"guidance_rescale is {rescale}, expected a number in [0, 1]")
        rows = self.rows.clone()
        rows[:, COLUMN["guidance"]], rows[:, COLUMN["rescale"]] = guidance, rescale
        return replace(self, rows=rows)


@dataclass(eq=False)
class TableBuilder:
    """Collects rows; `build` checks them."""

    _rows: list[NDArray[np.float64]] = field(default_factory=list)
    _timesteps: list[float] = field(default_factory=list)
    _input_scale: list[float] = field(default_factory=list)

    def row(
        self,
        timestep: float,
        prediction: Prediction,
        y: Combination,
        *,
        clip: Clip = NO_CLIP,
        store: Combination | None = None,
        slot: int = 0,
        log_std: tuple[float, float] = (0.0, 0.0),
        input_scale: float = 1.0,
    ) -> None:
        """Append a row: y is the next sample, `store` what goes to history slot `slot`.

        log_std = (a, b): noise is scaled by exp(a + b·variance), for a learned variance.
        """
        values = np.zeros(ROW)
        values[COLUMN["x0_x"]], values[COLUMN["x0_m"]] = prediction.x0.coefficients[:2]
        values[COLUMN["clip_min"]], values[COLUMN["clip_max"]] = clip.minimum, clip.maximum
        values[COLUMN["guidance"]] = 1.0
        values[COLUMN["quantile"]], values[COLUMN["threshold_max"]] = clip.quantile, clip.threshold_max
        values[COLUMN["log_std"]], values[COLUMN["log_std_v"]] = log_std
        values[Y : Y + len(TERMS)] = y.coefficients
        values[S : S + len(TERMS)] = (store or ZERO).coefficients
        values[COLUMN["store"]] = -1 if store is None else slot
        self._rows.append(values)
        self._timesteps.append(float(timestep))
        self._input_scale.append(float(input_scale))

    def build(self, init_scale: float = 1.0) -> Table:
        """The finished table. ValueError where a number is not finite or a slot is read too early."""
        rows = np.stack(self._rows) if self._rows else np.zeros((0, ROW))
        check_rows(rows)
        for row, timestep in enumerate(self._timesteps):
            if np.isnan(timestep):
                raise ValueError(
                    f"table row {row} is at time nan, expected levels of noise with one time each"
                )
        return Table(
            rows=torch.from_numpy(rows),
            timesteps=np.array(self._timesteps),
            input_scale=np.array(self._input_scale),
            init_scale=init_scale,
        )


_CLIP_COLUMNS = [COLUMN["clip_min"], COLUMN["clip_max"]]


def check_rows(rows: NDArray[np.float64]) -> None:
    """Refuse rows that would give NaN or read what no earlier row has stored."""
    finite = np.isfinite(rows)
    finite[:, _CLIP_COLUMNS] = ~np.isnan(rows[:, _CLIP_COLUMNS])
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        name = next(name for name, index in COLUMN.items() if index == column)
        without_signal = not finite[row, COLUMN["x0_x"]]  # 1/alpha
        hint = "; epsilon prediction has no x0 at zero terminal SNR: use v_prediction or sample there"
        raise ValueError(
            f"table row {row}, column {name!r} is {rows[row, column]}, expected a finite number"
            + (hint if without_signal else "")
        )
    written: set[int] = set()
    for index, row in enumerate(rows):
        for slot in range(HISTORY_SLOTS):
            read = row[COLUMN[f"y_h{slot}"]] != 0 or row[COLUMN[f"s_h{slot}"]] != 0
            if read and slot not in written:
                raise ValueError(f"table row {index} reads history slot {slot} before any row has stored it")
        written.add(int(row[COLUMN["store"]]))
