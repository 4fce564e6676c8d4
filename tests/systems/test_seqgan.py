"""GANs of text: draws follow the writer's chances, rewards become returns, and statistics approach the data's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genfuse import data, systems
from genfuse.cli import app
from genfuse.data.texts import TextDataset, decoded, encoded
from genfuse.ops import philox_normal
from genfuse.systems import ngrams
from genfuse.systems.seqgan import SeqGAN, SeqGANConfig, Writer
from genfuse.train import Adam, RunConfig, Trainer
from genfuse.train.metrics import rows

ALPHABET = ("", "a", "b", "c")
FAST = Adam(5e-3, (0.5, 0.99))
CONFIG = SeqGANConfig(8, 16, dropout=0.0, generator_optimizer=FAST, critic_optimizer=FAST)


def lines() -> TextDataset:
    tokens = encoded(["abc", "abcabc", "bc"], 6, ALPHABET)
    return TextDataset("lines", tokens, ALPHABET, torch.zeros(3, dtype=torch.int64))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def test_it_learns_and_its_checkpoint_is_the_system(tmp_path: Path) -> None:
    pictures = lines()
    system = SeqGAN(CONFIG, pictures.image_shape, pictures.class_names)
    config = RunConfig(150, 64, ema_decay=0.9, log_every=1, preview_every=150)
    trainer = Trainer(system, pictures, config, tmp_path)
    trainer.train()
    logged = rows(tmp_path)
    divergence = [row["bigram_divergence"] for row in logged]
    assert divergence[-1] < 0.5 * divergence[0]
    reward = torch.tensor([row["reward"] for row in logged])
    lowest = reward.unfold(0, 10, 10).mean(1).min()  # the critic learns first
    assert reward[-10:].mean() > lowest + 0.1

    loaded = systems.load(tmp_path)
    assert isinstance(loaded, SeqGAN)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[key], tensor), key
    made = loaded.sample(5, seed=3)
    assert made.texts == decoded(made.images, ALPHABET) and made.images.shape == (5, 6)
    assert loaded.sample(1, seed=5).texts == made.texts[2:3]
    assert len((tmp_path / "samples-00000150.txt").read_text().splitlines()) == 40
    printed = CliRunner().invoke(app, ["sample", str(tmp_path), "-n", "5", "--seed", "3"])
    assert printed.output.splitlines() == list(made.texts)


def test_draws_follow_the_chances() -> None:
    torch.manual_seed(1)
    writer = Writer(CONFIG, 4)
    torch.nn.init.normal_(writer.head.weight)
    tokens = writer.write(philox_normal(torch.arange(20_000), (20_000, 2, 4)))
    with torch.no_grad():
        first = writer(tokens[:1])[0, 0].exp()
        for token in range(1, 4):
            second = writer(torch.tensor([[token, 0]]))[0, 1].exp()
            followers = tokens[tokens[:, 0] == token, 1]
            found = torch.bincount(followers, minlength=4) / len(followers)
            assert (found - second).abs().max() < 5 * (0.25 / len(followers)) ** 0.5
    found = torch.bincount(tokens[:, 0], minlength=4) / len(tokens)
    assert (found - first).abs().max() < 5 * (0.25 / len(tokens)) ** 0.5
    assert (tokens[tokens[:, 0] == 0, 1] == 0).all(), "behind its end a line stays at its end"


def test_returns_are_discounted_sums() -> None:
    system = SeqGAN(SeqGANConfig(2, 2, discount=0.5), (3,), ALPHABET)
    found = system.returns(torch.tensor([[1.0, 2.0, 4.0]]))
    assert found.tolist() == [[1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4]]


def test_likelihood_comes_first_where_it_is_asked_for(tmp_path: Path) -> None:
    pictures = lines()
    config = SeqGANConfig(8, 16, pretraining=2000, generator_optimizer=FAST)
    system = SeqGAN(config, pictures.image_shape, pictures.class_names)
    Trainer(system, pictures, RunConfig(60, 32, log_every=1, preview_every=60), tmp_path).train()
    losses = [row["generator_loss"] for row in rows(tmp_path)]
    assert losses[-1] < 0.5 * losses[0]
    assert systems.load(tmp_path).config == config and system.baseline == 0


def test_ngrams() -> None:
    tokens = torch.tensor([[1, 2, 0, 0], [1, 1, 2, 2]])
    assert ngrams.live(tokens).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    counts = ngrams.bigrams(tokens, 3)
    assert counts.tolist() == [[0, 2, 0], [0, 1, 2], [1, 0, 1]]
    assert ngrams.known(tokens, tokens[1:], 2) == 4 / 5  # not 2 0; 1 2, 1 1, 1 2, 2 2
    assert ngrams.jensen_shannon(counts, 3 * counts) == pytest.approx(0, abs=1e-12)
    assert ngrams.jensen_shannon(torch.tensor([1, 0]), torch.tensor([0, 5])) == pytest.approx(1)


def test_texts() -> None:
    loaded = data.load("emoji-names")
    assert isinstance(loaded, TextDataset) and len(loaded) > 1000
    spoken = decoded(loaded.tokens, loaded.alphabet)
    assert "purple heart" in spoken and torch.equal(encoded(spoken, 24), loaded.tokens)
    with pytest.raises(ValueError, match="line is 'Ab', but there is no token 'A', expected at most 3"):
        encoded(["Ab"], 3, ALPHABET)
    with pytest.raises(ValueError, match="size is 32, expected none: emoji-names has no pictures"):
        data.load("emoji-names", 32)
    with pytest.raises(ValueError, match="expected lines of text"):
        SeqGAN(SeqGANConfig(), (3, 8, 8), ALPHABET)
    with pytest.raises(ValueError, match="discount is 1"):
        SeqGANConfig(discount=1.0)
