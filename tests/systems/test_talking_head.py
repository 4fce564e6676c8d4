"""A talking head learns in seconds, its checkpoint is the system, and what drives it is a track of landmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from genfuse import systems
from genfuse.data.animation import save_animation
from genfuse.data.faces import KNOWN, NEW, draw, face, faces
from genfuse.data.landmarks import POINTS, landmarks, read_track, sketched, speaking
from genfuse.systems.talking_head import TalkingHead, TalkingHeadConfig
from genfuse.train import RunConfig, Trainer
from genfuse.train.metrics import rows
from genfuse.train.optimizers import Adam

SIZE = 16


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # the networks are too small for more
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def trainer(run: Path, steps: int, resume: bool = False) -> Trainer:
    data = faces(SIZE)
    config = TalkingHeadConfig(width=8, embedding=16, generator_optimizer=Adam(2e-3))
    system = TalkingHead(config, data.image_shape, data.class_names)
    told = RunConfig(steps=steps, batch_size=6, ema_decay=0.5, log_every=1, preview_every=1000)
    return Trainer(system, data, told, run, resume)


def test_it_learns_and_its_checkpoint_is_driven(tmp_path: Path) -> None:
    trainer(tmp_path, 40).train()
    logged = rows(tmp_path)
    assert logged[-1]["content"] < 0.75 * logged[0]["content"]
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, TalkingHead)
    found = loaded.sample(5)
    assert found.shown is not None and found.shown.shape == (15, 3, SIZE, SIZE) and found.columns == 5
    assert torch.equal(found.images, found.shown[5:10])
    later = loaded.sample(2, seed=3, batch=1).images
    assert torch.allclose(later, found.images[3:], atol=1e-5), "frame i is the track's, whatever the batch"
    assert not torch.allclose(
        loaded.sample(5, label=f"face {KNOWN + NEW - 1}").images, found.images, atol=1e-3
    )
    with pytest.raises(ValueError, match="label is 'face 3', expected one of"):
        loaded.sample(1, label="face 3")


def test_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    trainer(tmp_path / "straight", 3).train()
    trainer(tmp_path / "halted", 1).train()
    trainer(tmp_path / "halted", 3, resume=True).train()
    straight, halted = (tmp_path / run / "step-00000003" for run in ("straight", "halted"))
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (straight / file).read_bytes() == (halted / file).read_bytes()


def test_a_track_is_read_or_its_line_is_named(tmp_path: Path) -> None:
    path, track = tmp_path / "track.csv", speaking(3)
    path.write_text("\n".join(",".join(map(repr, frame)) for frame in track.flatten(1).tolist()))
    assert torch.equal(read_track(path), track)
    for text, message in (
        ("", "has no line"),
        ("0.5," * (2 * POINTS - 1) + "x", "line 1: could not convert"),
        ("\n" + "0.5 " * 3, "line 2 has 3 numbers, expected 48"),
        ("0.5 " * (2 * POINTS - 1) + "nan", "line 1 has 48 numbers"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_track(path)


def test_faces_are_drawn_where_their_landmarks_are() -> None:
    still, turned = landmarks(torch.tensor([[0.0] * 7, [1.0, *[0.0] * 6]]))
    assert torch.allclose(turned - still, torch.tensor([0.08, 0.0], dtype=torch.float64).expand(POINTS, 2))
    everything = speaking(24)
    assert everything.min() >= 0 and everything.max() <= 1
    assert torch.allclose(landmarks(torch.zeros(1, 7))[0], still)
    pixels = draw(face(0), torch.stack((still, turned)), 64)
    assert (pixels[0] != pixels[1]).any(0).float().mean() > 0.02
    lines = sketched(still[None], 64)[0]
    for x, y in (still * 64).long().tolist():
        assert lines[:, y - 2 : y + 3, x - 2 : x + 3].max() > -0.5, "a line runs through every landmark"


def test_known_and_new_faces() -> None:
    data = faces(8)
    assert data.held_out is not None and data.image_shape == (6, 8, 8)
    assert len(data.class_names) == KNOWN and len(data.held_out.class_names) == NEW
    assert not set(data.class_names) & set(data.held_out.class_names)
    assert torch.equal(data.labels.unique(), torch.arange(KNOWN)) and torch.equal(
        faces(8).images, data.images
    )


def test_an_animation_has_its_frames(tmp_path: Path) -> None:
    images = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, 3, 8, 8)
    save_animation(images, tmp_path / "a.gif", 2)
    with Image.open(tmp_path / "a.gif") as found:
        assert getattr(found, "n_frames", 1) == 4 and found.size == (16, 16)
    with pytest.raises(ValueError, match="N > 0"):
        save_animation(images[:0], tmp_path / "b.gif")
