"""The checkpoint that comes with genfuse: what the file holds, and that it draws what was asked."""

from __future__ import annotations

import torch

from genfuse.samplers.loop import sample
from genfuse.systems import ddpm
from genfuse.systems.sampling import SHIPPED
from genfuse.train import checkpoint


def test_file() -> None:
    loaded = checkpoint.load(SHIPPED)
    assert 2e6 < SHIPPED.stat().st_size < 6e6
    assert {tensor.dtype for tensor in loaded.tensors.values()} == {torch.float16}
    assert all(name.startswith("ema.") for name in loaded.tensors)
    assert loaded.metadata["image_shape"] == [3, 32, 32] and len(loaded.metadata["class_names"]) == 14
    assert "CC BY-SA 4.0" in loaded.metadata["data"]["attribution"]


def test_attribution_lies_beside() -> None:
    notice = SHIPPED.with_suffix(".md").read_text(encoding="utf-8")
    assert checkpoint.load(SHIPPED).metadata["data"]["attribution"].split("(")[0].strip() in notice
    assert "genfuse train ddpm" in notice


def test_pictures_are_of_what_was_asked() -> None:
    """Faces are yellow discs on white paper; clocks are white inside; flags are wider than high."""
    system = ddpm.load(SHIPPED)
    names = ["faces", "clocks", "flags"]
    images = sample(
        system.model,
        (12, *system.image_shape),
        steps=10,
        seeds=0,
        schedule=system.config.schedule,
        prediction=system.config.prediction,
        guidance=2.0,
        cond={"label": torch.tensor([system.label(name) for name in names]).repeat_interleave(4)},
        clip=1.0,
    )
    assert isinstance(images, torch.Tensor) and images.isfinite().all()
    faces, clocks, flags = images.split(4)
    corners = images[:, :, :3, :3].mean(dim=(1, 2, 3))
    assert (corners > 0.8).all(), "white paper"
    red, green, blue = faces[:, :, 12:20, 12:20].mean(dim=(0, 2, 3)).tolist()
    assert min(red, green) > blue + 0.5, "yellow"
    assert clocks[:, :, 8:24, 8:24].mean() > 0.5, "white inside"
    ink = (1 - flags).mean(dim=1)
    assert ink[:, :5].mean() < 0.2 < ink[:, 12:20, 4:28].mean(), "wider than high"
