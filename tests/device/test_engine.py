"""What only a GPU shows: captured graphs, measured choices, kernels built ahead of time, noise equal to the CPU's."""

from __future__ import annotations

import copy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse import tuned
from genfuse.nn import UNet, UNetConfig

pytestmark = pytest.mark.device("cuda")
SHAPE = (4, 3, 16, 16)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(1, 3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.silu(self.norm(x))) + 1e-3 * t[:, None, None, None]
        return y


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "unipc", "euler_ancestral", "heun"])
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_a_graph_draws_what_sample_draws(sampler: str, backend: str) -> None:
    model = Network().cuda().eval()
    with genfuse.backend(backend):  # type: ignore[arg-type]
        draw = genfuse.graph(model, SHAPE, sampler=sampler, steps=9)
        for seeds in (0, [7, 7, 1, 2]):
            want = genfuse.sample(model, SHAPE, sampler=sampler, steps=9, seeds=seeds, device="cuda")
            torch.testing.assert_close(draw(seeds), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", [None, "cuda"])
def test_an_optimised_network_computes_and_trains_the_same_and_is_captured(backend: Any) -> None:
    """Units of convolutions, norms and attention; no further from float64 than twice what PyTorch's own are."""
    torch.manual_seed(0)
    model = UNet(UNetConfig(channels=(32, 64), attention_levels=(1,))).cuda().eval()
    fast, exact = genfuse.optimize(model), copy.deepcopy(model).double()
    x, t = torch.randn(SHAPE, device="cuda"), torch.full((len(SHAPE),), 3.0, device="cuda")

    def results(network: Any, x: Tensor, t: Tensor) -> list[Tensor]:
        y = network(x, t)
        return [y.detach(), *torch.autograd.grad(y.square().mean(), list(network.parameters()))]

    want = results(exact, x.double(), t.double())
    theirs = results(model, x, t)
    with genfuse.backend(backend) if backend else nullcontext():
        found = results(fast, x, t)
        draw = genfuse.graph(fast, SHAPE, sampler="dpmpp_2m", steps=5)
        sampled = genfuse.sample(fast, SHAPE, sampler="dpmpp_2m", steps=5, seeds=0, device="cuda")
    for got, other, right in zip(found, theirs, want, strict=True):
        scale = float(right.abs().max())
        assert (got - right).abs().max() <= 2 * (other - right).abs().max() + 1e-4 * scale
    torch.testing.assert_close(draw(0), sampled, rtol=1e-4, atol=1e-4)


def test_replays_neither_allocate_nor_wait() -> None:
    model = Network().cuda().eval()
    draw = genfuse.graph(model, SHAPE, sampler="dpmpp_2m", steps=5)
    draw(0)
    draw._index.zero_()  # beyond the table nothing is defined
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            draw._replay()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_a_model_that_waits_is_named() -> None:
    def model(x: Tensor, t: Tensor) -> Tensor:
        return x * float(t[0])

    with pytest.raises(genfuse.UnsupportedError, match="model cannot be captured in a CUDA graph"):
        genfuse.graph(model, SHAPE)


@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_noise_is_the_cpus(backend: str) -> None:
    seeds = torch.tensor([3, -5])
    with genfuse.backend("cpu"):
        want = genfuse.ops.philox_normal(seeds, (2, 3, 8, 8))
    with genfuse.backend(backend):  # type: ignore[arg-type]
        got = genfuse.ops.philox_normal(seeds.cuda(), (2, 3, 8, 8)).cpu()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_choices_are_measured_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    tuned._place.cache_clear()
    x, weight = torch.randn(2, 32, 32, 32, device="cuda"), torch.randn(32, 32, 3, 3, device="cuda")
    with genfuse.backend(reproducible=False):
        y = genfuse.ops.conv_norm_act(x, weight, padding=1, norm="group", num_groups=4)
        said = genfuse.explain("conv_norm_act", x, weight, padding=1, norm="group", num_groups=4)
        assert "fastest here" in said.reason
    want = genfuse.ops.conv_norm_act(x, weight, padding=1, norm="group", num_groups=4)
    torch.testing.assert_close(y, want, rtol=1e-2, atol=1e-2)
    assert tuned.choices(x.device) and tuned.place(x.device).file.is_file()
    tuned._place.cache_clear()


BUILT = """
import sys, torch, genfuse
sys.modules["cupy"] = None
seeds = torch.tensor([3, -5], device="cuda")
with genfuse.backend("cuda"):
    assert "launched by the driver" in genfuse.explain("philox_normal", seeds.float()).reason
    got = genfuse.ops.philox_normal(seeds, (2, 3, 8, 8)).cpu()
with genfuse.backend("cpu"):
    want = genfuse.ops.philox_normal(seeds.cpu(), (2, 3, 8, 8))
torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
"""


def test_kernels_built_ahead_of_time_run_without_cupy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genfuse_kernels.common import cuda_build, nvrtc
    from genfuse_kernels.cuda_kernels import kernels

    target = nvrtc.target(torch.cuda.get_device_capability())
    if not target.startswith("sm_"):
        pytest.skip("not run here: NVRTC does not know this GPU")
    noise = [kernel for kernel in kernels() if kernel.op == "philox_normal" and kernel.dtype == torch.float32]
    cuda_build.build(tmp_path, [target], noise)
    monkeypatch.setenv("GENFUSE_CUDA_KERNELS", str(tmp_path))
    run = subprocess.run([sys.executable, "-c", BUILT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
