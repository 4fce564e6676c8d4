"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor, nn

README = Path(__file__).parent.parent / "README.md"


class Model(nn.Module):
    """An ordinary network: its weights ask for a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def test_sampling_from_python() -> None:
    sampling = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    names: dict[str, object] = {"model": Model()}
    exec(sampling, names)
    for made in ("images", "x"):
        value = names[made]
        assert isinstance(value, Tensor) and value.shape == (16, 3, 32, 32) and value.isfinite().all()
