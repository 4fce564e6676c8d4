"""Options of the command line that only some systems have."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # the command line starts without the training loop
    from genfuse.train.system import System

SamplerOption = Annotated[
    str | None, typer.Option(help="Solver (dpmpp_2m); `genfuse samplers` lists them. Diffusion only.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps of the solver (20). Diffusion only.")]
GuidanceOption = Annotated[
    float | None, typer.Option(help="Classifier-free guidance scale (2); 1 is none. Diffusion only.")
]


def own_options(system: System[Any], **given: Any) -> dict[str, Any]:
    """For ``system.sample``: of these names those that it has, its defaults for None.

    ValueError for one that is given, but that this system's samples don't have.
    """
    known = inspect.signature(system.sample).parameters
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in known:
            raise ValueError(
                f"option --{name.replace('_', '-')} is given, but samples of {system.name!r} have none of that name"
            )
    return {name: known[name].default for name in given if name in known} | options
