"""The layout of a row of coefficients: what each column of a sampler's table means.

`csrc/sampler_step/params.h` holds the same order; a test keeps the two equal.
"""

from __future__ import annotations

HISTORY_SLOTS = 4
"""Stored tensors that a row can read."""

TERMS = ("x", "m", "x0", "h0", "h1", "h2", "h3", "noise", "noise_prev")
"""What an output is a linear combination of."""

COLUMNS = (
    "x0_x",  # predicted x0 = x0_x·x + x0_m·m
    "x0_m",
    "clip_min",  # x0 is clamped to [clip_min, clip_max]; -inf and inf: not
    "clip_max",
    "guidance",  # m = uncond + guidance·(model_output − uncond), where uncond is given
    "rescale",  # guidance rescale φ in [0, 1]; 0: off
    "quantile",  # dynamic threshold: quantile of |x0| in (0, 1]; 0: off
    "threshold_max",  # the threshold is kept within [1, threshold_max]
    "log_std",  # noise is scaled by exp(log_std + log_std_v·variance); log_std_v = 0: not
    "log_std_v",
    *(f"y_{term}" for term in TERMS),  # the next sample
    *(f"s_{term}" for term in TERMS),  # the tensor to store
    "store",  # history slot that the stored tensor goes to; -1: none
)

COLUMN = {name: index for index, name in enumerate(COLUMNS)}

ROW = 32
"""Columns of a table, the unused ones zero: a row is 4 cache lines of float64."""

Y = COLUMN["y_x"]
S = COLUMN["s_x"]
