"""scikit-learn's digits in other guises: what translation between domains makes of a digit can be read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genfuse.data.dataset import ImageDataset
from genfuse.data.digits import digits
from genfuse.names import check_name

DOMAINS = ("plain", "inverted", "coloured", "rotated")


def digit_domains(name: str, size: int = 8) -> ImageDataset:
    """Plain digits and other digits inverted, coloured or rotated: no digit is in two domains.

    Every tenth digit is held out, in each of the domains: a sample of as many pictures on the channels, in the order of
    the domains, with the digit as its class.

    Args:
        name: "digits-inverted", "digits-coloured", "digits-rotated"; "digits-domains" has all four domains.
        size: as of :func:`genfuse.data.digits`.

    Returns:
        (N, 3, size, size) pictures in two domains or four, which are the classes; none may be mirrored.

    Raises:
        ValueError: there is no such name, or ``size`` is below 8.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    check_name("data", name, NAMES)
    other = name.removeprefix("digits-")
    domains = DOMAINS if other == "domains" else ("plain", other)
    plain = digits(size)
    images = plain.images.expand(-1, 3, -1, -1)
    views = torch.cat([_GUISES[domain](images) for domain in domains], 1)
    held_out = torch.arange(len(plain)) % 10 == 9
    aligned = ImageDataset(
        name, views, plain.labels, plain.class_names, plain.may_flip, views=len(domains)
    ).split(held_out)
    return aligned.apart(name, domains)


def undone(images: Tensor, domain: str) -> Tensor:
    """Pictures (N, 3, H, W) of a domain as plain digits, upright and bright: (N, 1, H, W)."""
    return _UNDONE[check_name("domain", domain, DOMAINS)](images)


def _coloured(images: Tensor) -> Tensor:
    """Ink of a hue that goes around the circle from digit to digit, saturated, on black."""
    hues = (torch.arange(len(images)) * 0.618034) % 1  # the golden ratio: neighbours differ
    offsets = torch.tensor([0.0, 1 / 3, 2 / 3])
    distance = ((hues[:, None] - offsets + 0.5) % 1 - 0.5).abs()  # from red, green and blue, in turns
    colours = (2 - 6 * distance).clamp(0, 1)[:, :, None, None]
    return (images + 1) * colours - 1


def _rotated(images: Tensor) -> Tensor:
    """A quarter turn to the left."""
    return images.rot90(1, (2, 3))


def _brightest(images: Tensor) -> Tensor:
    return images.amax(1, keepdim=True)


_GUISES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": torch.clone,
    "inverted": torch.neg,
    "coloured": _coloured,
    "rotated": _rotated,
}
_UNDONE: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images.mean(1, keepdim=True),
    "inverted": lambda images: -images.mean(1, keepdim=True),
    "coloured": _brightest,
    "rotated": lambda images: images.mean(1, keepdim=True).rot90(-1, (2, 3)),
}
NAMES = ("digits-inverted", "digits-coloured", "digits-rotated", "digits-domains")
"""What `digit_domains` knows."""
