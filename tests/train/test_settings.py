"""Settings: overridden by name, from TOML and the command line; what is wrong with one is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from genfuse.train import Adam, RunConfig, settings


@dataclass(frozen=True)
class Network:
    width: int = 8
    channels: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Config:
    model: Network = field(default_factory=Network)
    loss: Literal["hinge", "minimax"] = "hinge"
    gamma: float | None = None
    sharp: bool = False
    optimizer: Adam = field(default_factory=Adam)


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("model.width=32", "model.width", 32),
        ("model.channels=[4, 5, 6]", "model.channels", (4, 5, 6)),
        ("loss=minimax", "loss", "minimax"),
        ('loss="minimax"', "loss", "minimax"),
        ("gamma=5", "gamma", 5.0),
        ("gamma=none", "gamma", None),
        ("sharp = true", "sharp", True),
        ("optimizer.betas=[0, 0.9]", "optimizer.betas", (0.0, 0.9)),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 1e-3),
    ],
)
def test_a_setting_by_name(assignment: str, name: str, value: Any) -> None:
    found = dict(settings.names(settings.changed(Config(), settings.from_assignments([assignment]))))
    assert found == {**dict(settings.names(Config())), name: value}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.widht=32", "setting is 'model.widht', expected .*; did you mean 'model.width'"),
        ("model=3", "setting is 'model', expected one of"),
        ("model.width=wide", "model.width is 'wide', expected a whole number"),
        ("model.width=1.5", "model.width is 1.5, expected a whole number"),
        ("model.width=true", "model.width is True, expected a whole number"),
        ("model.channels=3", "model.channels is 3, expected a list"),
        ("model.channels=[1, x]", r"model.channels is '\[1, x\]', expected a list"),
        ('model.channels=[1, "x"]', r"model.channels\[1\] is 'x', expected a whole number"),
        ("optimizer.betas=[1]", r"betas is \[1\], expected a list of 2"),
        ("loss=hing", "loss is 'hing', expected .*; did you mean 'hinge'"),
        ("gamma=x", "gamma is 'x', expected a number"),
        ("sharp=1", "sharp is 1, expected true or false"),
        ("optimizer.learning_rate=0", "learning_rate is 0.0, expected more than 0"),
        ("loss", "set is 'loss', expected name=value"),
    ],
)
def test_what_is_wrong_is_said(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.changed(Config(), settings.from_assignments([assignment]))


def test_a_file_and_what_is_said_over_it(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('loss = "minimax"\n[model]\nwidth = 16\n[train]\nsteps = 7\ngrad_clip = inf\n')
    both = settings.Both(Config(), RunConfig()).changed(settings.from_toml(file))
    both = both.changed({"model.width": 4})
    assert (both.config.model.width, both.config.loss, both.train.steps) == (4, "minimax", 7)
    with pytest.raises(ValueError, match=r"did you mean 'train\.steps'"):
        both.changed({"train": {"step": 3}})
    for text in ("loss = ", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"run.toml, which cannot be read as TOML"):
            settings.from_toml(file)
    with pytest.raises(ValueError, match="cannot be read as TOML"):
        settings.from_toml(tmp_path)
