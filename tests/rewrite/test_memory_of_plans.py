"""What plans remember of tensors besides their values: how to read them, and whose memory they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genfuse.rewrite.plan import Planned

COMPLEX: dict[str, Callable[[Tensor], Tensor]] = {
    "conjugate": lambda y: y.conj(),
    "product": lambda y: y * y.conj(),
    "transposed": lambda y: y.mH,
    "joined": lambda y: torch.cat([y.conj(), y], 1),
    "transformed": lambda y: torch.fft.ifft2(y.conj()).real,
    "negated": lambda y: y.conj().imag,
    "edited": lambda y: y.conj().mul_(1j),
}


@torch.no_grad()
@pytest.mark.parametrize("name", COMPLEX)
def test_conjugates_stay_conjugates(name: str) -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)

    def function(x: Tensor) -> Tensor:
        return COMPLEX[name](torch.fft.fft2(conv(x)))

    planned = Planned(function)
    for _ in range(3):
        x = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(planned(x), function(x))
    assert planned.obstacle is None
