"""The systems by name, with the paper that each is of and what it is there to show."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from genfuse.errors import CheckpointError
from genfuse.names import check_name, unknown_name
from genfuse.train import checkpoint
from genfuse.train.system import System


@dataclass(frozen=True)
class Entry:
    """A line of the list.

    Attributes:
        class_name: of the system, in the module of its name.
        paper: authors, year and arXiv number.
        shows: what is to be seen.
        data: what it is trained on where the user says nothing.
    """

    class_name: str
    paper: str
    shows: str
    data: str = "digits"


SYSTEMS = {
    "ddpm": Entry(
        "DDPM",
        "Ho et al. 2020, arXiv:2006.11239",
        "denoising diffusion, by class and with guidance; every sampler",
        "openmoji",
    ),
}
NAMES = tuple(SYSTEMS)


def get(name: str) -> type[System[Any]]:
    """The system of that name: ``get("ddpm")(config, image_shape, class_names)``, ``.load(path)``.

    Raises:
        ValueError: there is no such system; the message names the nearest.
    """
    entry = SYSTEMS[check_name("system", name, NAMES)]
    found: type[System[Any]] = getattr(import_module(f"genfuse.systems.{name}"), entry.class_name)
    return found


def load(path: str | Path) -> System[Any]:
    """A trained system of whatever kind, ready to use.

    Raises:
        CheckpointError: see :meth:`genfuse.train.System.load`; or it is of a system that this genfuse does not have.
    """
    loaded = checkpoint.load(path)
    name = loaded.metadata.get("system")
    if not isinstance(name, str) or name not in NAMES:
        raise CheckpointError(f"{loaded.path}: {unknown_name('system', name, NAMES)}")
    return get(name).restored(loaded)
