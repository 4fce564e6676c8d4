"""The contract of `timestep_embedding` (Vaswani et al. 2017, section 3.5; the arguments are diffusers').

    launch(out, t, flip_sin_to_cos, downscale_freq_shift, scale, max_period)

With half = channels // 2 and angle_i = scale·t·max_period^(−i/(half − downscale_freq_shift)), i < half:

    out = [sin angle, cos angle], the cosines first where flip_sin_to_cos, and a zero behind an odd number

    t      (N,) float32 | bfloat16 | float16 | float64
    out    (N, channels) like t, contiguous

Angles, which reach thousands of turns, are float64 in every dtype.
"""

from __future__ import annotations

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def tolerance(dtype: torch.dtype, largest_angle: float) -> float:
    """Absolute error allowed: the angle and the sine in float64, the result rounded once to its dtype."""
    return UNIT_ROUNDOFF[torch.float64] * (4.0 * largest_angle + 4.0) + UNIT_ROUNDOFF[dtype]
