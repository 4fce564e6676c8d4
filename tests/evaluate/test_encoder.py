"""The shipped encoder: what it knows of pictures that it was not trained on, what its FID sees, what bad input gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genfuse.errors import CheckpointError
from genfuse.evaluate import FEATURES, encoder, fid, frechet_distance
from genfuse.evaluate.encoder import WEIGHTS
from genfuse.evaluate.train_encoder import accuracies, held_out, pictures, varied


def test_held_out_accuracy_is_what_is_said() -> None:
    """To two pictures of each kind: another processor's rounding may tip one."""
    said = WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    found = re.search(r"([\d.]+)% of the held-out digits and ([\d.]+)% of the held-out emoji", said)
    assert found is not None
    images, _, _, of_digits = pictures()
    for accuracy, number, count in zip(
        accuracies(encoder()), found.groups(), (of_digits, len(images) - of_digits), strict=True
    ):
        assert abs(accuracy - float(number) / 100) <= 2 / (count // 10) + 5e-4


def test_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 400_000
    assert all(tensor.dtype == torch.float16 for tensor in load_file(WEIGHTS).values())


def test_fid_grows_with_what_is_done_to_pictures() -> None:
    """Halves of the emoji are near; noise, and blur, move them away, more of it further."""
    network, images = encoder(), pictures()[0][-2400:]
    first, second = images[0::2], images[1::2]
    noise = torch.randn(second.shape, generator=torch.Generator().manual_seed(0))
    distances = [float(fid(network, first, second + size * noise)) for size in (0.0, 0.1, 0.3, 1.0)]
    assert distances == sorted(distances) and distances[1] > 1.2 * distances[0]
    small = torch.nn.functional.avg_pool2d(second, 2)
    assert fid(network, first, small) > 1.2 * distances[0]
    digits = pictures()[0][:1200]
    assert fid(network, first, digits) > 5 * distances[0]


def test_sizes_and_dtypes() -> None:
    network = encoder()
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    seen = network(images)
    assert seen.shape == (3, FEATURES) and seen.dtype == torch.float32
    assert torch.equal(seen, network(images.expand(-1, 3, -1, -1)))
    assert network(images[:0]).shape == (0, FEATURES)
    # Smaller ones are enlarged, larger ones averaged: a picture of one colour stays what it is.
    plain = torch.full((2, 3, 32, 32), 0.25)
    for size in ((8, 8), (100, 40)):
        resized = network(torch.full((2, 3, *size), 0.25))
        torch.testing.assert_close(resized, network(plain), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(images.bfloat16()), network(images.bfloat16().float()))


def test_gradients_reach_pictures_alone() -> None:
    network = encoder()
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    frechet_distance(network(images), torch.randn(4, FEATURES)).backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None and images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_varied_moves_and_mirrors() -> None:
    images = torch.arange(32.0).expand(64, 3, 32, 32)
    may_flip = torch.arange(64) < 32
    got = varied(images, may_flip, torch.Generator().manual_seed(0))
    rising = got[:, 0, 0, 16] > got[:, 0, 0, 12]
    assert rising[32:].all() and 0 < rising[:32].sum() < 32
    shifts = (got[32:, 0, 0, 16] - 16).long()
    assert set(shifts.tolist()) <= set(range(-3, 4)) and len(shifts.unique()) > 3
    assert (got[32:, :, :, 16] == 16 + shifts[:, None, None]).all()


def test_every_tenth_is_held_out() -> None:
    assert held_out(31).nonzero()[:, 0].tolist() == [9, 19, 29]


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 32, 32), ValueError, r"images has shape \(3, 32, 32\), expected \(N, 1 or 3, H, W\)"),
        (torch.zeros(2, 2, 32, 32), ValueError, r"images has shape \(2, 2, 32, 32\), expected"),
        (torch.zeros(2, 3, 0, 32), ValueError, r"images has shape \(2, 3, 0, 32\), expected"),
        (
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            TypeError,
            r"images is torch.uint8, expected a floating",
        ),
        ([0.0], TypeError, r"images is list, expected a floating tensor"),
    ],
)
def test_errors(images: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encoder()(images)


def test_files_that_are_not_its_weights(tmp_path: Path) -> None:
    for name, write in {
        "missing": lambda path: None,
        "broken": lambda path: path.write_bytes(WEIGHTS.read_bytes()[:1000]),
        "other": lambda path: save_file({"weight": torch.zeros(3)}, path),
        "shape": lambda path: save_file({**load_file(WEIGHTS), "norms.0.bias": torch.zeros(3)}, path),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        write(path)
        with pytest.raises(CheckpointError, match="holds no weights of the encoder"):
            encoder(path)
