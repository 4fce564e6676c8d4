"""Sound to image: words are heard, whoever says them, and pictures follow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genfuse import systems
from genfuse.data import ImageDataset, speech
from genfuse.systems.sound_to_image import SoundToImage
from genfuse.systems.text_to_image import TextToImageConfig
from genfuse.train import Adam, RunConfig, Trainer
from genfuse.train.metrics import rows

CONFIG = TextToImageConfig(
    4,
    "mlp",
    32,
    projection=16,
    interpolation=0.0,
    loss="hinge",
    generator_optimizer=Adam(2e-3, (0.5, 0.99)),
    critic_optimizer=Adam(1e-3, (0.5, 0.99)),
)


def chords(words: Sequence[str], voices: Sequence[str] = ("a", "b")) -> Tensor:
    """In the synthesiser's place: a word is a band, a manner moves it a little."""
    said = torch.full((len(words), 9 * len(voices), speech.BANDS, speech.FRAMES), -1.0)
    for word in range(len(words)):
        for manner in range(said.shape[1]):
            said[word, manner, 16 * word + manner % 9 : 16 * word + manner % 9 + 4] = 1
    return said


def test_it_learns_to_listen_and_its_checkpoint_is_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
    monkeypatch.setattr(speech, "spoken", chords)
    light = torch.arange(40) % 2  # with noise: of pictures that are all equal a critic is sure too soon
    noise = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = (0.6 * (1 - 2 * light)[:, None, None, None] + 0.4 * noise).clamp(-1, 1)
    two = ImageDataset("two", images, light, ("bright", "dark"), light > 1)
    system = SoundToImage(CONFIG, two.image_shape, two.class_names)
    config = RunConfig(60, 16, ema_decay=0.9, log_every=1, preview_every=60)
    trainer = Trainer(system, two, config, tmp_path)
    trainer.train()
    reads = torch.tensor([row["reads"] for row in rows(tmp_path)])
    assert reads[-10:].mean() > 0.9
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, SoundToImage)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[key], tensor), key
    made = loaded.sample(8).images.flatten(1).mean(1)
    assert made[::2].mean() > made[1::2].mean() + 0.15


def test_a_missing_synthesiser_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    speech._library.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genfuse\[speech\]'"):
        speech.say("seven")


def test_a_spectrogram() -> None:
    time = torch.arange(11_025) / 22_050
    made = speech.spectrogram(0.5 * torch.sin(2 * torch.pi * 2_000 * time))
    assert made.shape == (32, 32) and made.max() == 1 and made.min() >= -1
    assert (made.argmax(0) == int(2_000 / 5_512.5 * 32)).all()
    assert speech.spectrogram(torch.ones(3)).isfinite().all()


def test_words_are_heard_whoever_says_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(speech, "SPEEDS", (175,))
    words = ["one", "two", "3"]
    known, new = (speech.spoken(words, voices)[:, 0].flatten(1) for voices in (("en",), (speech.UNHEARD,)))
    assert torch.equal(torch.cdist(new, known).argmin(1), torch.arange(3))
    assert torch.equal(speech.spoken(words, ("en",))[:, 0].flatten(1), known), (
        "kept, for eSpeak's breath varies"
    )
    for wrong, message in ((("seven", "xx"), "voice is 'xx'"), ((" ",), "nothing is to be heard")):
        with pytest.raises(ValueError, match=message):
            speech.say(*wrong)
