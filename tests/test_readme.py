"""The Python of the README, and of the guides to sampling and to researching kernels, runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.lab import scaffold

README = Path(__file__).parent.parent / "README.md"
GUIDE = README.parent / "docs" / "guide"


class Model(nn.Module):
    """An ordinary network: its weights ask for a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def blocks(page: Path = README) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [README, GUIDE / "sampling.md"], ids=lambda p: p.stem)
def test_sampling_from_python(page: Path) -> None:
    sampling = blocks(page)[0]
    names: dict[str, object] = {"model": Model()}
    exec(sampling, names)
    for made in ("images", "x"):
        value = names[made]
        assert isinstance(value, Tensor) and value.shape == (16, 3, 32, 32) and value.isfinite().all()


def test_gradient_penalty_from_python() -> None:
    (penalty,) = (block for block in blocks() if "gradient_penalty" in block)
    critic = nn.Sequential(nn.Conv2d(3, 1, 8), nn.Flatten(0))
    names: dict[str, object] = {
        "genfuse": genfuse,
        "critic": critic,
        "real": torch.randn(4, 3, 8, 8),
        "fake": torch.randn(4, 3, 8, 8),
    }
    exec(penalty, names)
    assert names["norms"].shape == (4,)  # type: ignore[attr-defined]
    assert critic[0].weight.grad is not None and critic[0].weight.grad.isfinite().all()


def test_a_kernel_of_ones_own_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's trace is of a real run; the kernel is the one that `genfuse lab new` writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "cache"))
    scaffold.new("sampler_step", "mine.cpp")
    (research,) = (block for block in blocks(GUIDE / "research.md") if "genfuse.register" in block)
    names: dict[str, object] = {"genfuse": genfuse, "model": Model()}
    exec(research, names)
    assert (tmp_path / "trace.json").is_file() and "sampler_step" in str(names["trace"])
