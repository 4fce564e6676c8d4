"""Losses between pictures that should be the same: the mean absolute difference, and CycleGAN's two uses of it.

CycleGAN (Zhu et al. 2017, arXiv:1703.10593) has two generators, G from domain X to Y and F back.
"""

from __future__ import annotations

from torch import Tensor

from genfuse.losses.batch import wide_pair


def l1(images: Tensor, target: Tensor) -> Tensor:
    """E |images − target|, (N, ...) alike, any floating dtypes (pix2pix, Isola et al. 2017, eq. 3).

    Returns (). ValueError or TypeError, naming the argument, where they differ in shape or device.
    """
    found, expected = wide_pair("images", images, "target", target)
    return (found - expected).abs().mean()


def cycle(x: Tensor, x_again: Tensor, y: Tensor, y_again: Tensor) -> Tensor:
    """E |F(G(x)) − x| + E |G(F(y)) − y| (eq. 2): x_again is F(G(x)), y_again is G(F(y)).

    x, x_again and y, y_again are (N, ...) alike, any floating dtypes. Returns (). Errors as those of `l1`.
    """
    return _both(("x", x, "x_again", x_again), ("y", y, "y_again", y_again))


def identity(x: Tensor, x_kept: Tensor, y: Tensor, y_kept: Tensor) -> Tensor:
    """E |F(x) − x| + E |G(y) − y| (section 5.2): x_kept is F(x), y_kept is G(y), which are there already.

    x, x_kept and y, y_kept are (N, ...) alike, any floating dtypes. Returns (). Errors as those of `l1`.
    """
    return _both(("x", x, "x_kept", x_kept), ("y", y, "y_kept", y_kept))


def _both(of_x: tuple[str, Tensor, str, Tensor], of_y: tuple[str, Tensor, str, Tensor]) -> Tensor:
    differences = []
    for name, target, made_name, made in (of_x, of_y):
        found, expected = wide_pair(made_name, made, name, target)
        differences.append((found - expected).abs().mean())
    return differences[0] + differences[1]
