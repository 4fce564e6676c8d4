"""The training loop: equal bits when killed and resumed, what it writes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from genfuse.data import ImageDataset
from genfuse.errors import CheckpointError
from genfuse.nn import UNetConfig
from genfuse.systems.ddpm import DDPMConfig, train
from genfuse.train import RunConfig, Step, System, TrainConfig, checkpoint, loop
from genfuse.train.batches import ImageBatches, step_generator
from genfuse.train.ema import Ema

MODEL = UNetConfig(patch_size=1, channels=(8, 16), attention_levels=(), embedding_channels=8)
CONFIG = TrainConfig(
    steps=8,
    batch_size=4,
    warmup_steps=3,
    cooldown_steps=4,
    log_every=2,
    checkpoint_every=4,
    preview_every=100,
)


def dataset() -> ImageDataset:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(20, 1, 8, 8, generator=generator) * 2 - 1
    return ImageDataset("noise", images, torch.arange(20) % 2, ("even", "odd"), torch.arange(20) < 10)


@pytest.fixture(autouse=True)
def _little_to_look_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture from one step of the sampler is picture enough here; curves are drawn in one test."""
    if request.node.name != "test_what_a_run_writes":
        monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
        monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
    monkeypatch.setattr("genfuse.systems.ddpm.DDPM.preview", lambda self, model: torch.zeros(1, 1, 8, 8))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run).tensors


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)
from genfuse.train import loop, tensorboard
tensorboard.find_spec = lambda name: None
from {module} import CONFIG, MODEL, DDPMConfig, dataset, train
report = loop.Trainer._report
def kill_at_six(self, *reported):
    report(self, *reported)
    if self.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
loop.Trainer._report = kill_at_six
train(dataset(), sys.argv[1], DDPMConfig(MODEL), CONFIG)
"""


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(dataset(), tmp_path / "straight", DDPMConfig(MODEL), CONFIG)
        script = KILLED.format(path=[str(Path(__file__).parent), *sys.path], module=Path(__file__).stem)
        killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert [f.name for f in checkpoint.step_folders(tmp_path / "killed")] == ["step-00000004"]
        train(dataset(), tmp_path / "killed", DDPMConfig(MODEL), CONFIG, resume=True)
    finally:
        torch.set_num_threads(threads)
    straight, resumed = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert any(not torch.equal(straight[name], straight[name.replace("model.", "ema.")]) for name in straight)
    for file in ("model.safetensors", "optimizer.safetensors"):
        folder = "step-00000008"
        assert (tmp_path / "straight" / folder / file).read_bytes() == (
            tmp_path / "killed" / folder / file
        ).read_bytes()


def test_what_a_run_writes(tmp_path: Path) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, keep=1))
    found = sorted(path.name for path in tmp_path.iterdir() if path.name != "tensorboard")
    assert found == [
        "curves.png",
        "metrics.jsonl",
        "samples-00000008.png",
        "step-00000008",
    ]
    assert Image.open(tmp_path / "curves.png").width > 100
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert all(row["loss"] > 0 and row["pictures_per_second"] > 0 for row in rows)
    metadata = checkpoint.load(tmp_path).metadata
    assert (
        metadata["step"] == 8 and metadata["data"]["name"] == "noise" and metadata["train"]["batch_size"] == 4
    )


def test_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=1))
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run"):
        train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG)


def test_resume_needs_a_checkpoint_that_fits(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint to resume from"):
        train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=1))
    (tmp_path / "step-00000001" / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prediction": "v_prediction"}, "config.prediction 'epsilon', now it is 'v_prediction'"),
        ({"schedule": "squaredcos_cap_v2"}, "config.schedule 'linear', now"),
        ({"model": dataclasses.replace(MODEL, channels=(16, 16))}, r"config.model.channels \[8, 16\], now"),
        ({"seed": 5}, "train.seed 0, now it is 5"),
        ({"batch_size": 8}, "train.batch_size 4, now it is 8"),
        ({"cooldown_steps": 0}, "train.cooldown_steps 4, now it is 0"),
        ({"learning_rate": 1.0}, "train.learning_rate 0.001, now it is 1.0"),
    ],
)
def test_a_run_goes_on_as_it_began(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    own = {name: settings[name] for name in settings if hasattr(CONFIG, name)}
    systems = {"model": MODEL} | {name: value for name, value in settings.items() if name not in own}
    with pytest.raises(CheckpointError, match=f"{tmp_path} was started with {message}.*resume with what it"):
        train(dataset(), tmp_path, DDPMConfig(**systems), dataclasses.replace(CONFIG, **own), resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_goes_on_with_its_own_pictures(tmp_path: Path) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=1))
    fewer = dataset()
    fewer = dataclasses.replace(
        fewer, images=fewer.images[:10], labels=fewer.labels[:10], may_flip=fewer.may_flip[:10]
    )
    other = dataset()
    other.images[3, 0, 2, 2] += 0.5
    for changed in (fewer, other, dataclasses.replace(dataset(), class_names=("a", "b"))):
        with pytest.raises(CheckpointError, match=r"started with (data\.digest|class_names) "):
            train(changed, tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)


def test_more_steps_and_other_intervals_are_no_other_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=2))
    more = dataclasses.replace(CONFIG, steps=3, log_every=1, preview_every=1, checkpoint_every=1, keep=1)
    train(dataset(), tmp_path, DDPMConfig(MODEL), more, resume=True)
    assert checkpoint.load(tmp_path).step == 3
    capsys.readouterr()
    for steps in (3, 1):
        fewer = dataclasses.replace(CONFIG, steps=steps)
        train(dataset(), tmp_path, DDPMConfig(MODEL), fewer, resume=True)
        assert f"is at step 3 already and steps is {steps}: nothing to do" in capsys.readouterr().out
    assert checkpoint.load(tmp_path).step == 3


def test_a_resumed_run_logs_each_step_once(tmp_path: Path) -> None:
    """Rows beyond the checkpoint are of steps that are taken again; the last one may be cut off."""
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=4))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 9.0}\n{"step": 8, "lo')
    train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert rows[2]["loss"] != 9.0


@pytest.mark.parametrize(
    "line", [b"garbage", b"[1]", b'{"loss": 1.0}', b'{"step": "x"}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=4))
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes() + line + b"\n")
    before = file.read_bytes()
    with pytest.raises(
        CheckpointError, match=rf"{file}, line 3 is b.*, expected a JSON object with a step: remove"
    ):
        train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)
    assert file.read_bytes() == before


def test_blank_lines_of_metrics_are_dropped(tmp_path: Path) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=2))
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b"\n" + file.read_bytes() + b"  \r\n")
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=4), resume=True)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [2, 4]


def test_a_run_is_resumed_from_its_own_checkpoints(tmp_path: Path) -> None:
    train(dataset(), tmp_path, DDPMConfig(MODEL), dataclasses.replace(CONFIG, steps=2))
    (tmp_path / "step-best").mkdir()
    (tmp_path / "step-00000030-backup").mkdir()
    train(dataset(), tmp_path, DDPMConfig(MODEL), CONFIG, resume=True)
    assert checkpoint.load(tmp_path).step == 8
    assert {"step-best", "step-00000030-backup"} < {path.name for path in tmp_path.iterdir()}


def test_a_diverging_run_stops(tmp_path: Path) -> None:
    broken = dataset()
    broken.images.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="gradient of step 0 is not finite"):
        train(broken, tmp_path, DDPMConfig(MODEL), CONFIG)


def test_a_failed_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither weights nor running statistics nor averages, and the same trainer goes on as if it had not been."""

    class OneNetwork(System[TrainConfig]):
        name, config_class, fails = "test", TrainConfig, False

        def build(self) -> None:
            self.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))

        def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
            return {"model": torch.optim.AdamW(self.model.parameters(), 1e-3, fused=True)}

        def step(self, now: Step) -> None:
            found = self.model(now.batch()[0]).square().mean()
            now.minimise("model", found * torch.nan if self.fails else found)

        @property
        def averaged(self) -> nn.Module:
            return self.model

    def state(trainer: loop.Trainer) -> list[torch.Tensor]:
        both = trainer.system, trainer.ema.model
        return [value.clone() for model in both for value in model.state_dict().values()]

    once, straight = (
        loop.Trainer(OneNetwork(CONFIG, (1, 8, 8), ("a",)), dataset(), CONFIG, tmp_path / name)
        for name in ("once", "straight")
    )
    for trainer in (once, straight):
        trainer._advance()
    before, system = state(once), once.system
    assert isinstance(system, OneNetwork)
    system.fails = True
    with pytest.raises(FloatingPointError, match="step 1 is not finite"):
        once._advance()
    assert all(map(torch.equal, state(once), before)) and once.step == 1
    system.fails = False

    def has_no_memory() -> None:
        raise MemoryError("none left")

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(once.updates.optimizers["model"], "step", has_no_memory)
        once._advance()
    assert all(map(torch.equal, state(once), before)) and once.step == 1
    for trainer in (once, straight):
        trainer._advance()
    assert all(map(torch.equal, state(once), state(straight)))


def test_batches_depend_on_seed_and_step_alone() -> None:
    batches = ImageBatches(dataset(), 16, class_balance=0.5, flip=True)
    first, again, later = (batches.draw(step_generator(0, step)) for step in (5, 5, 6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(batches.draw(step_generator(1, 5))[0], first[0])


def test_only_what_may_be_mirrored_is() -> None:
    data = dataset()
    images, _ = ImageBatches(data, 400, class_balance=0.0, flip=True).draw(step_generator(0, 0))
    kept = {tuple(image.flatten().tolist()): index for index, image in enumerate(data.images)}
    mirrored = {tuple(image.flip(2).flatten().tolist()): index for index, image in enumerate(data.images)}
    keys = [tuple(image.flatten().tolist()) for image in images]
    flipped = [mirrored[key] for key in keys if key not in kept]
    assert max(flipped) < 10 and 60 < len(flipped) < 140, "half of the half that may be"


def test_class_balance() -> None:
    images = torch.zeros(100, 1, 8, 8)
    labels = (torch.arange(100) >= 90).long()
    data = ImageDataset("two", images, labels, ("many", "few"), torch.zeros(100, dtype=torch.bool))
    shares = [
        ImageBatches(data, 4000, balance, flip=False).draw(step_generator(0, 0))[1].float().mean().item()
        for balance in (0.0, 0.5, 1.0)
    ]
    assert shares == pytest.approx([0.1, 0.25, 0.5], abs=0.03)


def test_ema_follows_slowly() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = Ema(model, decay=0.5)
    nn.init.ones_(model.weight)
    ema.update(model, step=0)  # decay 1/10
    assert ema.model.weight.item() == pytest.approx(0.9)
    ema.update(model, step=1000)
    assert ema.model.weight.item() == pytest.approx(0.95)
    assert model.weight.item() == 1 and not ema.model.weight.requires_grad


def test_ema_of_shared_weights_and_buffers() -> None:
    """A weight that two layers share moves once; floating buffers are averaged, others copied."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    model[1].weight = model[0].weight
    nn.init.zeros_(model[0].weight)
    ema = Ema(model, decay=0.5)
    nn.init.ones_(model[0].weight)
    model[2].running_mean.fill_(4)
    model[2].num_batches_tracked.fill_(7)
    ema.update(model, step=1000)
    assert ema.model[0].weight is ema.model[1].weight and ema.model[0].weight.tolist() == [[0.5, 0.5]] * 2
    assert ema.model[2].running_mean.tolist() == [2, 2] and ema.model[2].num_batches_tracked.item() == 7


def test_learning_rate() -> None:
    config = TrainConfig(steps=10, learning_rate=1.0, warmup_steps=2, cooldown_steps=4)
    assert [config.learning_rate_at(step) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": -1}, {"ema_decay": 1.0}, {"class_balance": 2}, {"learning_rate": 0}],
)
def test_bad_config(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)  # type: ignore[arg-type]
