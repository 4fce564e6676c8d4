"""stylegan3's filter functions: sizes, brightness and what they stand for."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from genfuse.compat.stylegan import upfirdn2d as compat


def test_signatures() -> None:
    def of(name: str) -> list[tuple[str, object]]:
        parameters = inspect.signature(getattr(compat, name)).parameters.values()
        return [(p.name, p.default) for p in parameters if p.name not in ("x", "f")]

    last = [("flip_filter", False), ("gain", 1), ("impl", "cuda")]
    assert of("upfirdn2d") == [("up", 1), ("down", 1), ("padding", 0), *last]
    assert of("filter2d") == [("padding", 0), *last]
    assert of("upsample2d") == [("up", 2), ("padding", 0), *last]
    assert of("downsample2d") == [("down", 2), ("padding", 0), *last]
    assert of("setup_filter") == [
        ("device", torch.device("cpu")),
        ("normalize", True),
        ("flip_filter", False),
        ("gain", 1),
        ("separable", None),
    ]


def test_filters() -> None:
    f = compat.setup_filter([1, 3, 3, 1])
    assert f.shape == (4, 4) and f.dtype == torch.float32 and f.sum() == 1
    assert torch.equal(f[0] * 64, torch.tensor([1.0, 3, 3, 1]))
    assert compat.setup_filter(range(1, 9)).shape == (8,)
    turned = compat.setup_filter([1.0, 2], normalize=False, flip_filter=True, gain=4, separable=True)
    assert torch.equal(turned, torch.tensor([4.0, 2.0]))
    assert torch.equal(compat.setup_filter(None), torch.ones(1, 1))
    with pytest.raises(ValueError, match="f has shape"):
        compat.setup_filter(torch.ones(2, 2, 2))
    with pytest.raises(ValueError, match="separable is True"):
        compat.setup_filter(torch.ones(2, 2), separable=True)


@pytest.mark.parametrize("taps", [[1], [1, 1], [1, 2, 1], [1, 3, 3, 1], list(range(1, 13))])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_sizes_and_brightness(taps: list[int], factor: int) -> None:
    x, f = torch.ones(2, 3, 24, 30), compat.setup_filter(taps)
    assert compat.filter2d(x, f).shape == x.shape
    if len(taps) >= factor:
        smaller = compat.downsample2d(x, f, down=factor)
        assert smaller.shape == (2, 3, 24 // factor, 30 // factor)
        inside = smaller[:, :, 12 // factor, 15 // factor]
        torch.testing.assert_close(inside, torch.ones_like(inside))
        assert compat.upsample2d(x, f, up=factor).shape == (2, 3, 24 * factor, 30 * factor)


def test_against_pytorch() -> None:
    x = torch.randn(2, 3, 6, 8)
    box = compat.setup_filter([1, 1])
    torch.testing.assert_close(compat.downsample2d(x, box), F.avg_pool2d(x, 2))
    torch.testing.assert_close(compat.upsample2d(x, box), F.interpolate(x, scale_factor=2))
    assert torch.equal(compat.filter2d(x, None), x)
    tent = compat.setup_filter([1, 3, 3, 1])
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(compat.upsample2d(x, tent)[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])
    torch.testing.assert_close(compat.upsample2d(x, tent, impl="ref"), compat.upsample2d(x, tent))
    with pytest.raises(ValueError, match="impl"):
        compat.filter2d(x, tent, impl="slow")
