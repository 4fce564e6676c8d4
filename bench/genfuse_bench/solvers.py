"""The solvers that are measured, by genfuse's name and by diffusers' class, configured alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STEPS = 20
TIMED = range(3, STEPS - 2)
"""Past the warm-up of multistep solvers, before the last steps of lower order and without noise."""


@dataclass(frozen=True)
class Solver:
    """One solver at diffusers' defaults.

    sampler    its name in genfuse
    scheduler  the class's name, in diffusers and in genfuse.schedulers
    title      what a table's column says
    clip       the range ±clip of x0; None: not clipped
    """

    sampler: str
    scheduler: str
    title: str
    clip: float | None = None
    config: dict[str, Any] = field(default_factory=dict)


SOLVERS = {
    solver.sampler: solver
    for solver in (
        Solver("euler", "EulerDiscreteScheduler", "Euler"),
        Solver("ddim", "DDIMScheduler", "DDIM", clip=1.0),
        Solver("dpmpp_2m", "DPMSolverMultistepScheduler", "DPM++ 2M"),
        Solver("unipc", "UniPCMultistepScheduler", "UniPC"),
        Solver("ddpm", "DDPMScheduler", "DDPM", clip=1.0),
        Solver("euler_ancestral", "EulerAncestralDiscreteScheduler", "Euler a"),
        Solver(
            "lcm",
            "LCMScheduler",
            "LCM",
            config={"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"},
        ),
    )
}
