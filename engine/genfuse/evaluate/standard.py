"""Inception score, kernel distance and CLIP score, by torchmetrics, over features of any network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from genfuse.errors import UnsupportedError
from genfuse.evaluate.features import check_features


def torchmetrics(name: str) -> ModuleType:
    """The module ``torchmetrics.<name>``.

    Raises:
        ModuleNotFoundError: torchmetrics is not installed.
        UnsupportedError: it, or what it imports, does not load here.
    """
    try:
        return import_module(f"torchmetrics.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install 'genfuse[evaluate]'") from error
    except (ImportError, RuntimeError, OSError) as error:
        raise UnsupportedError(
            f"torchmetrics does not load here ({error}): if that is of torchvision, install the build of your PyTorch, "
            "from the package index that PyTorch came from"
        ) from error


def inception_score(logits: Tensor, *, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """exp E KL(p(y | x) ‖ p(y)) over a classifier's classes, mean and deviation of splits (Salimans et al. 2016).

    Args:
        logits: (N, classes), floating: `Encoder.classify` of the pictures, or an Inception network's.
        splits: of the samples, at most N.
        seed: of their order.

    Raises:
        ValueError, TypeError: logits are none, or fewer than splits.
        ModuleNotFoundError, UnsupportedError: see :func:`torchmetrics`.
    """
    x = check_features("logits", logits, least=max(splits, 1)).double()
    metric = _quiet(torchmetrics("image.inception").InceptionScore, nn.Identity(), splits)
    metric.update(x)
    mean, deviation = _computed(metric, seed)
    return mean, deviation if splits > 1 else 0.0


def kernel_distance(
    features: Tensor, real: Tensor, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """KID, the unbiased squared MMD by (xᵀy/D + 1)³, mean and deviation of subsets (Bińkowski et al. 2018).

    Args:
        features, real: (N, D) and (M, D), floating, at least 2 each.
        subsets: drawn.
        subset_size: samples of each set in a subset; None: 1000, or all where there are fewer.
        seed: of the draw.

    Raises:
        ValueError, TypeError: shapes do not fit, or sets are smaller than ``subset_size``.
        ModuleNotFoundError, UnsupportedError: see :func:`torchmetrics`.
    """
    x = check_features("features", features, least=2).double()
    y = check_features("real", real, least=2, width=x.shape[1]).double()
    fewest = min(len(x), len(y))
    subset_size = min(1000, fewest) if subset_size is None else subset_size
    if not 2 <= subset_size <= fewest:
        raise ValueError(f"subset_size is {subset_size}, expected 2 to {fewest}, the size of the smaller set")
    metric = _quiet(torchmetrics("image.kid").KernelInceptionDistance, nn.Identity(), subsets, subset_size)
    metric.update(y, real=True)
    metric.update(x, real=False)
    return _computed(metric, seed)


def clip_score(images: Tensor, texts: list[str], clip: tuple[Any, Any], *, batch_size: int = 64) -> float:
    """100·cos between pictures and their texts, as CLIP sees them, mean, at least 0 (Hessel et al. 2021).

    Args:
        images: (N, C, H, W) in [-1, 1].
        texts: N.
        clip: a model and its processor, `genfuse.evaluate.clip(...)` or others of transformers' interface.
        batch_size: pairs at a time.

    Raises:
        ValueError: not one text a picture.
        ModuleNotFoundError, UnsupportedError: see :func:`torchmetrics`.
    """
    if len(images) != len(texts) or not texts:
        raise ValueError(
            f"there are {len(texts)} texts and {len(images)} pictures, expected one text a picture"
        )
    metric = torchmetrics("multimodal.clip_score").CLIPScore(lambda: clip)
    pixels = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
    with torch.no_grad():
        for begin in range(0, len(texts), batch_size):
            metric.update(pixels[begin : begin + batch_size], texts[begin : begin + batch_size])
    return float(metric.compute())


def _quiet(call: Callable[..., Any], *arguments: Any) -> Any:
    """Without torchmetrics' warnings: of buffers, which hold what is held anyway, and of the deviation of one split."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments)


def _computed(metric: Any, seed: int) -> tuple[float, float]:
    """Mean and deviation; torchmetrics draws from PyTorch's own generator, which is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = _quiet(metric.compute)
    return float(mean), float(deviation)
