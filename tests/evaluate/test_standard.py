"""Scores by torchmetrics, MiFID beside its own, and networks that others trained."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluate.peers import torch_fidelity
from genfuse.errors import CheckpointError, UnsupportedError
from genfuse.evaluate import (
    clip,
    clip_score,
    frechet_distance,
    inception,
    inception_score,
    kernel_distance,
    mifid,
)
from genfuse.evaluate import standard as scores


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + shift


def test_inception_score_by_its_definition() -> None:
    logits = 3 * features(90, 0)
    p = logits.softmax(1)
    expected = (p * (p / p.mean(0)).log()).sum(1).mean().exp().item()
    assert inception_score(logits, splits=1) == (pytest.approx(expected, rel=1e-9), 0.0)
    mean, deviation = inception_score(logits, splits=5, seed=1)
    assert (mean, deviation) == inception_score(logits, splits=5, seed=1)
    assert mean != inception_score(logits, splits=5, seed=2)[0] and deviation > 0
    certain = torch.eye(12).repeat(10, 1) * 100
    assert inception_score(certain, splits=1)[0] == pytest.approx(12, rel=1e-9)


def test_inception_score_against_torch_fidelity() -> None:
    peer, logits = torch_fidelity("metric_isc"), features(100, 0)
    expected = peer.isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    assert inception_score(logits, splits=1)[0] == pytest.approx(expected, rel=1e-6)


def unbiased(x: Tensor, y: Tensor) -> float:
    """The squared MMD over all pairs of different samples."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.mT / a.shape[1] + 1) ** 3

    n = len(x)
    off = 1 - torch.eye(n, dtype=torch.float64)
    within = ((kernel(x, x) + kernel(y, y)) * off).sum() / (n * (n - 1))
    return (within - 2 * kernel(x, y).mean()).item()


def test_kernel_distance_by_its_definition() -> None:
    """A subset of all samples is all of them, whatever the order."""
    x, y = features(60, 0), features(60, 1, 0.3)
    mean, deviation = kernel_distance(x, y, subsets=3)
    assert mean == pytest.approx(unbiased(x, y), rel=1e-9) and deviation < 1e-12
    before = torch.random.get_rng_state()
    drawn = kernel_distance(x, y, subsets=20, subset_size=30, seed=4)
    assert drawn == kernel_distance(x, y, subsets=20, subset_size=30, seed=4) and drawn[1] > 0
    assert torch.equal(torch.random.get_rng_state(), before)


def test_kernel_distance_against_torch_fidelity() -> None:
    peer, x, y = torch_fidelity("metric_kid"), features(60, 0), features(60, 1, 0.3)
    found = peer.kid_features_to_metric(x, y, kid_subsets=2, kid_subset_size=60, verbose=False)
    assert kernel_distance(x, y)[0] == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-6)


@pytest.mark.parametrize("noise", [0.05, 3.0])
def test_mifid_against_torchmetrics(noise: float) -> None:
    """Near copies and new samples; torchmetrics is given the sets in the paper's order, samples first."""
    from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance as Peer

    real = features(80, 0)
    x = real[:50] + noise * features(50, 1)
    x[3], real[5] = 0, -x[0]  # without a direction, and in the opposite one
    metric = Peer(torch.nn.Identity())
    metric.update(x, real=True)
    metric.update(real, real=False)
    assert mifid(x, real, threshold=0.1).item() == pytest.approx(metric.compute().item(), rel=1e-6)
    with pytest.raises(ValueError, match="features is 0 everywhere"):
        mifid(torch.zeros(5, 12), real)


def test_mifid_is_calibrated_by_the_real_ones() -> None:
    """Features that are all alike in direction: copies are punished, new samples are not."""
    real, new = features(80, 0, 9.0), features(80, 1, 9.0)
    copies = real + 1e-3 * features(80, 2)
    assert mifid(new, real) == frechet_distance(new, real)
    assert mifid(copies, real) > 100 * frechet_distance(copies, real)


class Clip:
    """A model and processor of transformers' interface: pictures are their mean colour, texts their first letters."""

    def __call__(self, **data: Any) -> dict[str, Tensor]:
        if data.get("images") is not None:
            return {"pixel_values": torch.stack([image.float().mean((1, 2)) for image in data["images"]])}
        rows = [[float(ord(letter)) for letter in text[:3]] for text in data["text"]]
        return {"input_ids": torch.tensor(rows), "attention_mask": torch.ones(len(rows), 3)}

    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=77))

    def to(self, device: Any) -> Clip:
        return self

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return pixel_values

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return input_ids


def test_clip_score() -> None:
    pair = (Clip(), Clip())
    images = torch.rand(5, 3, 4, 4) * 2 - 1
    texts = ["abc", "xyz", "qrs", "aaa", "zza"]
    seen = (images * 127.5 + 127.5).round().mean((2, 3))
    wanted = torch.tensor([[float(ord(letter)) for letter in text] for text in texts])
    expected = 100 * torch.cosine_similarity(seen, wanted).mean().item()
    assert clip_score(images, texts, pair, batch_size=2) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="there are 1 texts and 5 pictures"):
        clip_score(images, ["a"], pair)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"no Inception weights at .*checkpoints/weights-.*: fetch https"
    ):
        inception()
    with pytest.raises(CheckpointError, match=r"at .*/mine.pth: fetch"):
        inception(tmp_path / "mine.pth")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("torch_fidelity", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "mine.pth").write_bytes(b"nothing")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genfuse\[pretrained\]'"):
        inception(tmp_path / "mine.pth")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genfuse\[pretrained\]'"):
        clip(tmp_path)


def test_torchmetrics_that_is_not_there_or_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genfuse\[evaluate\]'"):
        scores.torchmetrics("image.nothing_of_this_name")

    def broken(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(scores, "import_module", broken)
    with pytest.raises(
        UnsupportedError, match=r"torchvision::nms does not exist.*install the build of your PyTorch"
    ):
        kernel_distance(features(9, 0), features(9, 1))


def test_inception_network_by_torch_fidelity(tmp_path: Path) -> None:
    """With weights that are drawn: the wiring to its features and its logits without bias, and files that are none."""
    peer = torch_fidelity("feature_extractor_inceptionv3")
    file = tmp_path / "weights.pth"
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no Inception weights"):
        inception(file)
    torch.save({"fc.weight": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match="holds no Inception weights"):
        inception(file)
    saved: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "load_state_dict_from_url", lambda *_, **__: saved)
        patch.setattr(peer.FeatureExtractorInceptionV3, "load_state_dict", lambda self, _: None)
        drawn = peer.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    torch.save(drawn.state_dict(), file)
    network = inception(file)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    expected, logits = drawn((images * 127.5 + 127.5).round().to(torch.uint8))
    got = network(images)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(network.logits(got), logits)
    assert not any(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: inception_score(torch.randn(5, 3)),
            r"logits has shape \(5, 3\), expected \(N, D\), N at least 10",
        ),
        (lambda: inception_score(torch.full((20, 3), math.nan)), "logits is not finite"),
        (
            lambda: kernel_distance(features(5, 0), features(9, 1), subset_size=6),
            "subset_size is 6, expected 2 to 5",
        ),
        (
            lambda: kernel_distance(features(5, 0), torch.randn(5, 3)),
            "real has 3 features a sample, expected 12",
        ),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
