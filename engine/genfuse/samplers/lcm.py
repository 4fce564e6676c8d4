"""Latent consistency models: jump to x0, then back to the next noise level with fresh noise."""

from __future__ import annotations

from genfuse.samplers.begin import begun_table
from genfuse.samplers.combination import NOISE, X0, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.options import check_positive
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table


def lcm(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    timestep_scaling: float = 10.0,
    sigma_data: float = 0.5,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3): x' = alpha'·f + sigma'·noise.

    f = c_skip·x + c_out·x0 with the boundary condition of Song et al. 2023 (eq. 5, appendix C) at the scaled
    time s = timestep_scaling·t: c_skip = sigma_data²/(s² + sigma_data²), c_out = s/√(s² + sigma_data²).
    f is each row's second output, for who asks. A grid that ends without noise ends on f. ValueError unless
    timestep_scaling and sigma_data are more than 0.
    """
    check_positive("timestep_scaling", timestep_scaling)
    check_positive("sigma_data", sigma_data)
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        scaled = grid.timesteps[i] * timestep_scaling
        c_skip = sigma_data**2 / (scaled**2 + sigma_data**2)
        c_out = scaled / (scaled**2 + sigma_data**2) ** 0.5
        denoised = X0 * c_out + X * c_skip
        y = denoised * grid.alpha[i + 1] + NOISE * grid.sigma[i + 1]
        raw = predict_at(prediction, grid, i)
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=denoised, slot=-1)
    return builder.build()
