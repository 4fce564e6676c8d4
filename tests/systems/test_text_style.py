"""Text style transfer: the style's words change, the others stay, and the checkpoint is the system."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genfuse import data, systems
from genfuse.cli import app
from genfuse.data.texts import TextDataset, decoded, encoded
from genfuse.systems.text_style import TextStyle, TextStyleConfig
from genfuse.train import Adam, RunConfig, Trainer
from genfuse.train.batches import TextBatches
from genfuse.train.metrics import rows

ALPHABET = ("", "big", "small", "cat", "dog", "fox")
FAST = Adam(1e-2, (0.5, 0.99))
CONFIG = TextStyleConfig(embedding=8, width=8, generator_optimizer=FAST, critic_optimizer=FAST)


def sizes() -> TextDataset:
    """Big cats and dogs, small dogs and foxes: the styles' texts are no pairs."""
    lines = ["big cat", "big dog", "big fox", "small cat", "small dog", "small fox"]
    return TextDataset("sizes", encoded(lines, 2, ALPHABET), ALPHABET, torch.arange(6) // 3)


def test_it_learns_and_its_checkpoint_is_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
    texts = sizes()
    system = TextStyle(CONFIG, texts.image_shape, texts.class_names)
    config = RunConfig(150, 32, ema_decay=0.9, log_every=1, preview_every=150)
    trainer = Trainer(system, texts, config, tmp_path)
    trainer.train()
    logged = rows(tmp_path)
    assert logged[-1]["cycle"] < 0.2 * logged[0]["cycle"]
    assert logged[-1]["identity"] < 0.2 * logged[0]["identity"]
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, TextStyle)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[key], tensor), key
    big, small = texts.tokens[:3], texts.tokens[3:]
    for style, wanted in ((0, big), (1, small)):
        for given in (big, small):
            assert torch.equal(loaded.generator.rewrite(given, style), wanted)
    assert loaded.sample(1, text="big fox").texts == ("big fox -> big fox | small fox",)
    assert loaded.sample(3).texts == loaded.preview(loaded.generator)[:3]
    printed = CliRunner().invoke(app, ["sample", str(tmp_path), "--text", "small dog"])
    assert printed.output.strip() == "small dog -> big dog | small dog"
    with pytest.raises(ValueError, match="no token 'cow'"):
        loaded.sample(1, text="big cow")


def test_opinions() -> None:
    loaded = data.load("opinions")
    assert isinstance(loaded, TextDataset) and torch.bincount(loaded.styles).tolist() == [2000, 2000]
    lines = decoded(loaded.tokens, loaded.alphabet)
    assert all(line.startswith("i ") and len(line.split()) == 5 for line in lines)
    assert torch.equal(encoded(lines, 5, loaded.alphabet), loaded.tokens)
    verbs = [{line.split()[1] for line in lines[2000 * style : 2000 * style + 2000]} for style in (0, 1)]
    assert len(verbs[0]) == len(verbs[1]) == 4 and not verbs[0] & verbs[1]
    tokens, styles = TextBatches(loaded, 7).draw(torch.Generator().manual_seed(0))
    assert tokens.shape == (7, 5) and styles.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_refused() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        TextStyleConfig(temperature=0.0)
    with pytest.raises(ValueError, match="expected lines of text"):
        TextStyle(TextStyleConfig(), (3, 8, 8), ALPHABET)
