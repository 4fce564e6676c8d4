"""Pictures in pairs and in domains: what belongs together does, and what is held out is not trained on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from genfuse import data
from genfuse.data import emoji as room
from genfuse.data.digit_domains import undone
from genfuse.data.emoji import TONES, emoji


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some of OpenMoji: the first emoji of the package and hands in all tones."""
    every = [each for each in emoji() if not each.tones and not each.is_joined]
    hands = [
        each for each in emoji() if each.without_tone in {(0x1F44B,), (0x1F44D,), (0x1F590,)} and each.tones
    ]
    few = every[::60] + hands
    monkeypatch.setattr("genfuse.data.openmoji_domains.emoji", lambda: iter(few))
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))


def test_names_and_tones() -> None:
    hand = next(each for each in emoji() if each.code_points == (0x1F44B, 0x1F3FD))
    assert hand.name == "waving hand sign, medium skin tone" and hand.category == "hands"
    assert hand.tones == ("medium",) and hand.without_tone == (0x1F44B,) and not hand.is_joined
    assert all(each.name for each in islice(emoji(), 100))


@pytest.mark.usefixtures("_few")
def test_line_art_and_colour() -> None:
    pairs = data.load("openmoji-pairs", 16)
    apart = data.load("openmoji-unpaired", 16)
    assert isinstance(pairs, data.ImageDataset) and isinstance(apart, data.ImageDataset)
    assert pairs.image_shape == (6, 16, 16) and pairs.views == 2 and pairs.held_out is not None
    line, colour = (pairs.view(number).images for number in (0, 1))
    grey = (line.amax(1) - line.amin(1)).mean((1, 2))
    assert (grey < 0.02).float().mean() > 0.9, "line art is black on white"
    assert (colour.amax(1) - colour.amin(1)).mean() > 10 * grey.mean()
    assert (colour <= line + 0.1).float().mean() > 0.9, "the lines are in the drawing too"
    assert apart.class_names == ("line", "colour") and apart.views == 1 and apart.held_out is not None
    assert torch.equal(apart.images[0], line[0]) and torch.equal(apart.images[1], colour[1])
    assert torch.equal(apart.held_out.images, pairs.held_out.images)
    shown = {picture.numpy().tobytes() for picture in pairs.images}
    assert not shown & {picture.numpy().tobytes() for picture in pairs.held_out.images}


@pytest.mark.usefixtures("_few")
def test_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "genfuse.data.openmoji_domains._held_out", lambda chosen: torch.arange(len(chosen)) == 1
    )
    tones = data.load("openmoji-tones", 16)
    assert isinstance(tones, data.ImageDataset) and tones.class_names == tuple(TONES)
    assert tones.labels.tolist() == [0, 1, 2, 3, 4] * 2 and tones.held_out is not None
    light = tones.images.mean((1, 2, 3)).reshape(2, 5)
    assert (light[:, :-1] > light[:, 1:]).all(), "each tone is darker than the one before"
    assert tones.held_out.image_shape == (15, 16, 16) and tones.held_out.views == 5


@pytest.mark.parametrize("name", ["digits-inverted", "digits-coloured", "digits-rotated", "digits-domains"])
def test_digits_in_guises(name: str) -> None:
    loaded, plain = data.load(name), data.digits().images
    assert isinstance(loaded, data.ImageDataset) and loaded.held_out is not None
    assert loaded.held_out.views == len(loaded.class_names) == (4 if name.endswith("domains") else 2)
    assert torch.equal(loaded.held_out.labels, data.digits().labels[9::10])
    for number, domain in enumerate(loaded.class_names):
        held_out = loaded.held_out.view(number).images
        torch.testing.assert_close(undone(held_out, domain), plain[9::10])
        trained = undone(loaded.images[loaded.labels == number], domain)
        kept = plain[torch.arange(len(plain)) % 10 != 9][number :: len(loaded.class_names)]
        torch.testing.assert_close(trained, kept)


def test_photographs() -> None:
    loaded = data.load("photographs", 16)
    assert isinstance(loaded, data.ImageDataset) and loaded.held_out is not None
    assert loaded.class_names == ("temple", "flower") and len(loaded) == 1050 and len(loaded.held_out) == 210
    assert loaded.images.abs().max() <= 1 and "CC BY" in loaded.attribution
    blue = [loaded.images[loaded.labels == label, 2].mean() for label in (0, 1)]
    assert blue[0] > blue[1], "sky above the temple, leaves around the flower"


def test_an_emoji_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "1F600.svg"
    broken.write_text("<svg")
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    for layers in (None, frozenset({"line"})):
        with pytest.raises(ValueError, match=r"1F600\.svg cannot be drawn"):
            data.openmoji.__globals__["drawn"]([room.Emoji(broken, (0x1F600,), 3)], 8, None, layers)


def test_a_folder_of_pairs(tmp_path: Path) -> None:
    for side, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / side).mkdir()
        for number in range(10):
            Image.new("RGB", (8, 8), colour).save(tmp_path / side / f"{number}.png")
    pairs = data.load(tmp_path, 8, views=2)
    assert isinstance(pairs, data.ImageDataset) and pairs.held_out is not None
    assert pairs.images.shape == (9, 6, 8, 8) and len(pairs.held_out) == 1
    assert pairs.images[0, :, 0, 0].tolist() == [1, -1, -1, -1, -1, 1]
    (tmp_path / "b" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"a/3\.png has no partner"):
        data.load(tmp_path, 8, views=2)
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="has 3 subfolders, expected two"):
        data.load(tmp_path, 8, views=2)


def test_pictures_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    told: list[str] = []
    loaded = data.load(tmp_path, 8, skip=told.append)
    assert isinstance(loaded, data.ImageDataset) and len(loaded) == 1
    assert len(told) == 1 and "b.png cannot be read" in told[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"none of 1 pictures.*b\.png"):
        data.load(tmp_path, 8, skip=told.append)
