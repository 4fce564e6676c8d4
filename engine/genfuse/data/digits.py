"""scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from genfuse.data.dataset import ImageDataset, check_size
from genfuse.names import check_name

WITHOUT = tuple(f"digits-without-{digit}" for digit in range(10))
"""Names of :func:`digits_without`, by the class that is left out."""


def digits(size: int = 8) -> ImageDataset:
    """1,797 grey digits of 8 x 8 pixels, enlarged bilinearly where ``size`` asks for it.

    Returns:
        (1797, 1, size, size) pictures, ink bright, in 10 classes "0" to "9"; none may be mirrored.

    Raises:
        ValueError: ``size`` is below 8.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    check_size(size)
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("scikit-learn is not installed: pip install 'genfuse[data]'") from error

    loaded = load_digits()
    images = torch.from_numpy(loaded.images).to(torch.float32)[:, None] / 8.0 - 1.0
    if size != 8:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(loaded.target).to(torch.int64)
    may_flip = torch.zeros(len(labels), dtype=torch.bool)
    return ImageDataset("digits", images.contiguous(), labels, tuple("0123456789"), may_flip)


def digits_without(name: str, size: int = 8) -> ImageDataset:
    """Digits but for one class, to see whether a system tells what it never saw from what it did.

    Args:
        name: "digits-without-0" to "digits-without-9".
        size: as of :func:`digits`.

    Returns:
        Nine of ten pictures of the other classes; held out are the tenth and all of the class that is left out.

    Raises:
        ValueError: there is no such name, or ``size`` is below 8.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    check_name("data", name, WITHOUT)
    every = digits(size)
    unseen = every.labels == WITHOUT.index(name)
    return replace(every.split(unseen | (torch.arange(len(every)) % 10 == 9)), name=name)
