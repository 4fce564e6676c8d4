"""The contract of `sampler_step`.

    launch(out, stored, x, model_output, table, index, *, uncond, variance, history, noise, noise_prev,
           seeds, stream, scales)

For each sample n with r = table[index] (or table[index[n]]), per element and in this order:

    m  = model_output                                          uncond absent
       = uncond + r.guidance·(model_output − uncond)           uncond present
    m  = scales[n, 0]·m                                        r.rescale ≠ 0 (and uncond present)
    x0 = r.x0_x·x + r.x0_m·m
    x0 = clamp(x0, −s, s)/s with s = scales[n, 1]              r.quantile ≠ 0
       = clamp(x0, r.clip_min, r.clip_max)                     otherwise
    z  = noise, or the normal of (seeds[n], index, stream)     see philox_normal
    z  = z·exp(r.log_std + r.log_std_v·variance)               r.log_std_v ≠ 0
    z' = noise_prev, or the normal of (seeds[n], index − 1, stream)
    out[n]    = r.y_x·x + r.y_m·m + r.y_x0·x0 + Σ_k r.y_hk·history[k, n] + r.y_noise·z + r.y_noise_prev·z'
    stored[n] = the same with r.s_*

A term whose coefficient is zero is never loaded (no 0·NaN): neither from memory nor from Philox. A tensor
that a row needs and that is absent is a ValueError. `stored` goes to the given tensor, else to
history[r.store, n] where r.store ≥ 0, else nowhere. `out` may be `x` or `model_output` itself; any other
overlap of what is written with what is read is refused.

    x            (N, *S)   float64 | float32 | bfloat16 | float16; any strides
    model_output, uncond, variance, noise, noise_prev, out, stored: like x in shape and dtype; any strides
    history      (R, N, *S), R ≤ 4, like x; any strides
    table        (rows, 32) float64 (float32 on a GPU), columns as `row.COLUMNS`, finite but for the clip range
    index        int, or int64 (N,): a row a sample
    seeds        (N,) int64;  stream  int
    scales       (N, 2) float32 (float64 where x is): what `sampler_reduce` returns

Half precision is storage only: arithmetic is float32. float64 stays float64 throughout.
"""

from __future__ import annotations

import torch

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

UNIT_ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}


def tolerance(dtype: torch.dtype, terms: int) -> tuple[float, float]:
    """(relative to Σ|coefficient·term|, absolute): the error allowed against the float64 reference.

    Each of `terms` products and sums rounds once at the compute precision, coefficients and folded products
    of coefficients round too (hence 4 a term); the store rounds once at the storage precision. The absolute
    part is the smallest subnormal that float16 and bfloat16 can still hold.
    """
    compute = UNIT_ROUNDOFF[dtype if dtype == torch.float64 else torch.float32]
    store = 0.0 if dtype in (torch.float32, torch.float64) else UNIT_ROUNDOFF[dtype]
    absolute = {torch.float16: 2.0**-24, torch.bfloat16: 2.0**-133}.get(dtype, 2.0**-149)
    return 4.0 * (terms + 2) * compute + store, absolute


def bytes_moved(numel: int, itemsize: int, inputs: int, outputs: int) -> int:
    """Each live input is read once, each output written once; table, seeds and scales do not count."""
    return numel * itemsize * (inputs + outputs)
