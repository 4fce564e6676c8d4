"""OpenMoji as pictures: classes from code points, drawing, and the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genfuse.data.emoji_classes import CLASSES, class_of
from genfuse.data.openmoji import openmoji


@pytest.mark.parametrize(
    ("emoji", "name"),
    [
        ("😀", "faces"), ("🤮", "faces"), ("👻", "faces"), ("👍", "hands"), ("✌", "hands"), ("👮", "people"),
        ("🐙", "animals"), ("🦖", "animals"), ("🍕", "food"), ("🍄", "nature"), ("⭐", "nature"),
        ("🚗", "vehicles"), ("🏠", "places"), ("🕐", "clocks"), ("❤", "hearts"), ("💜", "hearts"),
        ("🇫🇷", "flags"), ("🟢", "shapes"), ("→", "symbols"), ("♻", "symbols"), ("🎸", "objects"),
    ],
)  # fmt: skip
def test_class(emoji: str, name: str) -> None:
    label = class_of(ord(emoji[0]))
    assert label is not None and list(CLASSES)[label] == name


def test_private_use_has_no_class() -> None:
    assert class_of(0xE040) is None and class_of(0xF8FF) is None


def test_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    seen: list[tuple[int, int]] = []
    drawn = openmoji(8, progress=lambda done, total: seen.append((done, total)))
    n = len(drawn)
    assert n > 2000 and drawn.image_shape == (3, 8, 8) and drawn.images.dtype == torch.float32
    assert drawn.images.min() >= -1 and drawn.images.max() == 1
    assert torch.bincount(drawn.labels, minlength=len(CLASSES)).min() > 20, "every class has pictures"
    assert seen[0] == (1, n) and seen[-1] == (n, n)
    assert (drawn.images[:, :, 0, 0] == 1).all(dim=1).float().mean() > 0.8, "most corners are white paper"
    faces = drawn.images[drawn.labels == drawn.class_names.index("faces"), :, 4, 4].mean(dim=0)
    assert faces[0] > faces[2], "faces are yellow: more red than blue"
    assert "CC BY-SA 4.0" in drawn.attribution and not drawn.may_flip[drawn.labels == 0].any()

    seen.clear()
    again = openmoji(8, progress=lambda done, total: seen.append((done, total)))
    assert not seen, "the second time comes from the cache"
    assert torch.equal(drawn.images, again.images) and torch.equal(drawn.labels, again.labels)


def test_bad_cache_is_drawn_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from genfuse.data.cache import cached_array

    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    wanted = torch.arange(6, dtype=torch.uint8).numpy()
    cached_array("key", lambda: wanted)
    (tmp_path / "key.npz").write_bytes((tmp_path / "key.npz").read_bytes()[:-3])
    assert (cached_array("key", lambda: wanted + 1) == wanted + 1).all()
    assert [file.name for file in tmp_path.iterdir()] == ["key.npz"]


def test_size_too_small() -> None:
    with pytest.raises(ValueError, match="size is 4"):
        openmoji(4)
