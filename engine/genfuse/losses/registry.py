"""The adversarial losses by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from genfuse.losses.adversarial import (
    AdversarialLoss,
    EnergyBased,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
)
from genfuse.names import check_name, unknown_name

_Loss = (
    type[Minimax]
    | type[NonSaturating]
    | type[Hinge]
    | type[LeastSquares]
    | type[Wasserstein]
    | type[EnergyBased]
)
LOSSES: dict[str, _Loss] = {
    "minimax": Minimax,
    "non-saturating": NonSaturating,
    "hinge": Hinge,
    "least-squares": LeastSquares,
    "wasserstein": Wasserstein,
    "energy-based": EnergyBased,
}


def names() -> tuple[str, ...]:
    """What `get` knows."""
    return tuple(LOSSES)


def get(name: str, **options: Any) -> AdversarialLoss:
    """The loss of that name, with its ``critic(real, fake)`` and ``generator(fake)``.

    options  those of its class: "energy-based" has margin, "least-squares" fake_label, real_label and target

    ValueError for a name that is not there, with the nearest right one; TypeError or ValueError for an option that the
    loss does not have, or cannot have.
    """
    chosen = LOSSES[check_name("loss", name, LOSSES)]
    known = [field.name for field in fields(chosen)]
    for option in options:
        if not known:
            raise TypeError(f"option {option!r} is given, expected none: {name!r} has no options")
        if option not in known:
            raise TypeError(unknown_name("option", option, known))
    return chosen(**options)
