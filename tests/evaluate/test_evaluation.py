"""All scores at once: of real pictures, of noise, of copies; the command, on a folder and a checkpoint."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from genfuse import cli
from genfuse.data import ImageDataset, digits
from genfuse.evaluate import encoder, frechet_distance
from genfuse.evaluate.evaluation import METRICS, Evaluation, Score
from genfuse.nn.unet import UNetConfig
from genfuse.systems.ddpm import DDPM, DDPMConfig
from genfuse.train import checkpoint

ORDER = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
"""Of the digits, which otherwise come writer by writer and count up."""


def part(dataset: ImageDataset, chosen: Tensor | slice) -> ImageDataset:
    of = dataset.images[chosen], dataset.labels[chosen], dataset.class_names, dataset.may_flip[chosen]
    return ImageDataset(dataset.name, *of)


@pytest.fixture(scope="module")
def real() -> ImageDataset:
    return part(digits(8), ORDER[:400])


def scores(data: ImageDataset, images: Tensor, size: int, **options: Any) -> dict[str, Score]:
    evaluation = Evaluation(data, **options)
    for first in range(0, len(images), size):
        evaluation.update(first, images[first : first + size])
    return evaluation.scores()


def test_new_pictures_noise_and_copies(real: ImageDataset) -> None:
    images = digits(8).images[ORDER]
    new = scores(real, images[400:700], 100)
    noise = scores(real, torch.rand(300, 1, 8, 8) * 2 - 1, 100)
    copies = scores(real, real.images[:300].flip(3), 100, metrics=["memorisation"])
    collapsed = scores(real, images[400:401].repeat(50, 1, 1, 1), 50, metrics=["modes", "birthday", "recall"])
    for name in ("fid", "fid_infinity", "kid", "mifid"):
        assert new[name].value < 0.1 * noise[name].value and new[name].better == "lower"
    for name in ("precision", "recall", "density", "coverage"):
        assert new[name].value > 0.5 and noise[name].value < new[name].value / 3
    assert new["classes_hit"] == Score(10, reference=10) and new["class_shares_off"].value < 0.15
    assert new["is"].value > 5 > noise["is"].value
    assert new["copies"].value < 0.2 and noise["copies"].value < 0.05 and copies["copies"].value == 1
    assert abs(new["nearer_than_new"].value - 0.5) < 0.1 and copies["nearer_than_new"].value > 0.95
    assert (collapsed["classes_hit"].value, collapsed["neighbour_largest_share"].value) == (1, 1)
    assert collapsed["support"].value == 1 and collapsed["recall"].value == 0
    assert set(new) > {"diversity", "birthday_batch", "neighbours_hit"}
    assert all(math.isfinite(score.value) for found in (new, noise) for score in found.values())


def test_batches_do_not_matter(real: ImageDataset) -> None:
    """But for roundings of the network's own: it takes other batches."""
    images, chosen = digits(8).images[400:600], ["fid", "kid", "precision", "modes", "memorisation"]
    first, second = (scores(real, images, size, metrics=chosen, capacity=120) for size in (200, 33))
    for name in first:
        assert second[name].value == pytest.approx(first[name].value, rel=1e-4), name


def test_a_network_of_ones_own(real: ImageDataset) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    images = digits(8).images[400:500]
    with torch.no_grad():
        seen = [network(of.expand(-1, 3, -1, -1)) for of in (images, real.images)]
    got = scores(real, images, 100, network=network, metrics=["fid", "coverage"])
    assert list(got) == ["fid", "coverage"]
    assert got["fid"].value == pytest.approx(frechet_distance(*seen).item(), rel=1e-6)


def test_two_evaluations_are_one(real: ImageDataset) -> None:
    """What processes do: each takes every other batch."""
    images = digits(8).images[400:600]
    chosen = [name for name in METRICS if name not in ("clip", "is", "kid")]
    halves = [Evaluation(real, metrics=chosen) for _ in range(2)]
    for number, first in enumerate(range(0, 200, 50)):
        halves[number % 2].update(first, images[first : first + 50])
    for name in ("moments", "samples", "classes", "neighbours", "copies"):
        getattr(halves[1], name).merge(getattr(halves[0], name))
    whole = scores(real, images, 50, metrics=chosen)
    for name, score in halves[1].scores().items():
        assert score.value == pytest.approx(whole[name].value, rel=1e-9), name


def test_errors(real: ImageDataset) -> None:
    with pytest.raises(ValueError, match=r"metrics is 'fidd', expected one of .*; did you mean 'fid'\?"):
        Evaluation(real, metrics=["fidd"])
    with pytest.raises(ValueError, match="there is no clip"):
        Evaluation(real, metrics=["clip"])
    with pytest.raises(ValueError, match="data has 5 pictures, expected more than 5"):
        Evaluation(part(real, slice(0, 5)))
    few = Evaluation(real, metrics=["fid"])
    few.update(0, real.images[:3])
    with pytest.raises(ValueError, match="there are 3 pictures, expected more than 5"):
        few.scores()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["evaluate", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 digits as PNGs of 8×8 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(digits(8).images[:30]):
        pixels = (image[0] * 127.5 + 127.5).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_a_folder(pictures: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run(
        pictures, "--data", "digits", "--size", "8", "--metrics", "fid, coverage,memorisation", "-o", report
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"fid\s+│", result.output) and "coverage" in result.output
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["count"] == 30 and found["data"]["name"] == "digits" and found["encoder"] == "genfuse"
    assert found["scores"]["copies"] == {"value": 1.0, "reference": 0.05, "better": "lower"}
    assert Image.open(report.with_suffix(".png")).size[0] > 12 * 16


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of digits."""
    model = UNetConfig(
        in_channels=1,
        num_classes=10,
        channels=(8, 16),
        attention_levels=(1,),
        embedding_channels=16,
        num_groups=4,
    )
    system = DDPM(DDPMConfig(model=model), (1, 8, 8), tuple("0123456789"), seed=0)
    path = tmp_path_factory.mktemp("cli") / "small.safetensors"
    tensors = {f"ema.{name}": tensor for name, tensor in system.model.state_dict().items()}
    checkpoint.save(path, tensors, {**system.metadata(), "step": 0})
    return path


def report_of(
    small: Path, path: Path, *options: str, metrics: str = "fid", processes: int = 1
) -> dict[str, Any]:
    """The report of 540 pictures, which are three parts of 260 and less."""
    chosen = ("--data", "digits", "--steps", "1", "--count", "540", "--metrics", metrics)
    arguments = [str(small), *chosen, *options, "-o", str(path)]
    if processes == 1:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    else:
        torchrun = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
        ]
        done = subprocess.run(
            [*torchrun, "-m", "genfuse", "evaluate", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("540 pictures") == 1
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_checkpoint(small: Path, tmp_path: Path) -> None:
    """The same numbers again from the same seed."""
    first = report_of(small, tmp_path / "a.json")
    assert first["sampling"]["sampler"] == "dpmpp_2m" and first["scores"]["fid"]["value"] > 0
    assert report_of(small, tmp_path / "b.json")["scores"] == first["scores"]
    assert report_of(small, tmp_path / "c.json", "--seed", "1")["scores"] != first["scores"]


def test_a_checkpoint_by_two_processes(small: Path, tmp_path: Path, proof: bool) -> None:
    """Parts shared by torchrun. (Statistics over two processes are tested in any case: test_streams.)"""
    if not proof:
        pytest.skip("three processes that import PyTorch: with GENFUSE_PROOF=1")
    metrics = "fid,modes,memorisation"
    alone = report_of(small, tmp_path / "a.json", metrics=metrics)["scores"]
    shared = report_of(small, tmp_path / "b.json", metrics=metrics, processes=2)["scores"]
    for name, score in alone.items():
        assert shared[name]["value"] == pytest.approx(score["value"], rel=1e-6), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metrics", "fidd"), "did you mean 'fid'?"),
        (("--data", "nothing"), "expected one of 'a folder of pictures'"),
        (("--encoder", "vgg"), "encoder is 'vgg', expected one of 'genfuse', 'inception'"),
        (("--encoder", "inception", "--weights", "none.pth"), "there are no Inception weights at none.pth"),
        (("--count", "31"), "count is 31, but"),
        (("-o", "."), "is a folder"),
        (("--weights", "none"), "holds no weights of the encoder"),
    ],
)
def test_user_errors(arguments: tuple[str, ...], message: str, pictures: Path, tmp_path: Path) -> None:
    output = () if "-o" in arguments else ("-o", tmp_path / "report.json")
    data = () if "--data" in arguments else ("--data", "digits")
    result = run(pictures, "--size", "8", *arguments, *data, *output)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()), result.output
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_has_a_size_of_its_own(small: Path, tmp_path: Path) -> None:
    result = run(small, "--size", "16", "--data", "digits", "-o", tmp_path / "report.json")
    assert result.exit_code == 2 and "leave it out" in " ".join(result.output.split())
    assert run(tmp_path / "none", "-o", tmp_path / "report.json").exit_code == 2


def test_logits_go_on_from_features(real: ImageDataset) -> None:
    network = encoder()
    assert torch.equal(network.classify(real.images[:4]), network.logits(network(real.images[:4])))
