"""The user's own pictures, scikit-learn's digits, and the choice between sources."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from genfuse import data


def test_digits() -> None:
    loaded = data.load("digits")
    assert loaded.images.shape == (1797, 1, 8, 8) and loaded.images.dtype == torch.float32
    assert loaded.images.min() == -1 and loaded.images.max() == 1
    assert loaded.class_names == tuple("0123456789") and loaded.labels.unique().tolist() == list(range(10))
    assert not loaded.may_flip.any()
    assert data.load("digits", 16).image_shape == (1, 16, 16)


def test_folder_with_classes(tmp_path: Path) -> None:
    for index, (name, colour) in enumerate([("cat", "red"), ("dog", "blue")]):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40 + 20 * index, 30), colour).save(tmp_path / name / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    loaded = data.load(tmp_path, 16)
    assert loaded.class_names == ("cat", "dog") and loaded.labels.tolist() == [0, 1]
    assert loaded.image_shape == (3, 16, 16) and loaded.may_flip.all()
    assert loaded.images[0, :, 8, 8].tolist() == [1, -1, -1] and loaded.images[1, :, 8, 8].tolist() == [
        -1,
        -1,
        1,
    ]


def test_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    loaded = data.load(tmp_path, 8)
    assert (loaded.images == 1).all() and loaded.class_names == (tmp_path.name,)


@pytest.mark.parametrize(
    ("files", "message"), [({}, "holds no pictures"), ({"broken.png": b"\x89PNG\r\n\x1a\nno"}, "broken.png")]
)
def test_bad_folder(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path)


def test_truncated_picture(tmp_path: Path) -> None:
    noise = (torch.rand(64, 64, 3) * 255).byte().numpy()
    Image.fromarray(noise).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "whole.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"whole\.png cannot be read as a picture"):
        data.load(tmp_path)


def test_unknown_source() -> None:
    with pytest.raises(ValueError, match=r"data is 'opnmoji', expected one of 'a folder.*mean 'openmoji'"):
        data.load("opnmoji")
