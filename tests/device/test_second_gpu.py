"""Tensors on a GPU that is not the thread's current one."""

from __future__ import annotations

import pytest
import torch

import genfuse
from genfuse import ops

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="not run here: there is no second GPU")


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("triton", marks=pytest.mark.device("triton")),
        pytest.param("cuda", marks=pytest.mark.device("cuda")),
    ],
)
def test_ops_and_gradients_run_where_their_tensors_are(backend: genfuse.dispatch.Backend) -> None:
    x, weight = torch.randn(2, 32, 8, 8), torch.randn(32, 32, 3, 3) / 17

    def run(device: str, by: genfuse.dispatch.Backend) -> list[torch.Tensor]:
        of = [tensor.to(device).requires_grad_() for tensor in (x, weight)]
        options = {"padding": 1, "norm": "group", "num_groups": 8, "activation": "silu"}
        with genfuse.backend(by):
            y = ops.conv_norm_act(*of, accuracy="exact", **options)
            assert isinstance(y, torch.Tensor)
            return [y, *torch.autograd.grad(y.square().sum(), of)]

    with torch.cuda.device(0):
        found = run("cuda:1", backend)
        assert torch.cuda.current_device() == 0
    for got, wanted in zip(found, run("cpu", "aten"), strict=True):
        assert got.device == torch.device("cuda", 1)
        torch.testing.assert_close(got.cpu(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
