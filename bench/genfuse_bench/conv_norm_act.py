"""Units and networks of them beside what runs the same module on a CPU today."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import genfuse
from genfuse import env
from genfuse.ops import conv_norm_act
from genfuse_bench.diffusion_networks import DIFFUSERS, NETWORKS, inputs_of
from genfuse_bench.module_peers import Inputs, ModulePeer, Run, channels_last
from genfuse_bench.timing import Call, Effort, Trajectory, measure
from genfuse_kernels.conv_norm_act import spec

Shape = tuple[int, int, int]  # N, C, H = W


class GroupNormUnit(nn.Module):
    """GroupNorm(32) + SiLU + conv3x3 + bias + residual, C to C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.silu(self.norm(x))) + residual
        return y

    def ours(self, x: Tensor, residual: Tensor) -> Tensor:
        """The same as one call."""
        y = conv_norm_act(
            x,
            self.conv.weight,
            self.conv.bias,
            padding=1,
            norm="group",
            num_groups=32,
            norm_weight=self.norm.weight,
            norm_bias=self.norm.bias,
            activation="silu",
            residual=residual,
        )
        assert isinstance(y, Tensor)
        return y


class TransposedUnit(nn.Module):
    """BatchNorm (of inference) + ReLU + 4x4 transposed convolution of stride 2, as DCGAN's generator stacks them."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.ConvTranspose2d(channels, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.relu(self.norm(x)))
        return y

    def ours(self, x: Tensor) -> Tensor:
        """The same as one call."""
        y = conv_norm_act(
            x,
            self.conv.weight,
            transposed=True,
            stride=2,
            padding=1,
            norm="batch",
            running_mean=self.norm.running_mean,
            running_var=self.norm.running_var,
            norm_weight=self.norm.weight,
            norm_bias=self.norm.bias,
            activation="relu",
        )
        assert isinstance(y, Tensor)
        return y


@dataclass(frozen=True)
class Workload:
    """A module with its inputs; `flops` of the definition, 0 where they are not counted."""

    name: str
    shape: tuple[int, ...]
    module: nn.Module
    inputs: Inputs
    flops: int
    tolerance: float  # relative to the root mean square of the output

    def ours(self) -> dict[str, Run]:
        """Our ways to run it: a unit's own call in both layouts, or the optimised module."""
        call: Callable[..., Tensor] | None = getattr(self.module, "ours", None)
        if call is None:
            frozen: Any = genfuse.optimize(copy.deepcopy(self.module))
            guarded = genfuse.optimize(copy.deepcopy(self.module))
            frozen.freeze()  # as OpenVINO, ONNX Runtime and a compiled model with freezing are
            return {"ours": lambda: frozen(*self.inputs), "ours guarded": lambda: guarded(*self.inputs)}
        last = channels_last(self.inputs)
        return {"ours": lambda: call(*last), "ours planar": lambda: call(*self.inputs)}


UNIT_SHAPES: tuple[Shape, ...] = (
    (8, 128, 32),
    (8, 256, 16),
    (8, 256, 8),
    (1, 128, 32),
    (1, 256, 64),
    (1, 512, 64),
)
TRANSPOSED_SHAPES: tuple[tuple[int, int, int, int], ...] = (
    (64, 512, 256, 8),
    (64, 256, 128, 16),
    (64, 128, 64, 32),
)


def units(shapes: Sequence[Shape] = UNIT_SHAPES) -> Iterator[Workload]:
    """The diffusion U-Net's unit."""
    for n, c, size in shapes:
        inputs = torch.randn(n, c, size, size), torch.randn(n, c, size, size)
        flops = spec.flops(n, c, size * size, 9 * c)
        yield Workload("unit", (n, c, size, size), _ready(GroupNormUnit(c)), inputs, flops, _bound(9 * c))


def transposed() -> Iterator[Workload]:
    """DCGAN's upsampling."""
    for n, c, k, size in TRANSPOSED_SHAPES:
        flops = spec.flops(n, k, size * size, 16 * c)
        module = _ready(TransposedUnit(c, k))
        yield Workload(
            "transposed", (n, c, k, size), module, (torch.randn(n, c, size, size),), flops, _bound(4 * c)
        )


def networks() -> Iterator[Workload]:
    """Generators of GANs, through `genfuse.optimize`."""
    yield _network("DCGAN generator", dcgan_generator(), (torch.randn(64, 100, 1, 1),))
    yield _network("CycleGAN generator", cyclegan_generator(), (torch.randn(1, 3, 256, 256),))


def diffusion() -> Iterator[Workload]:
    """The networks of diffusion models, through `genfuse.optimize`; none where diffusers is not installed."""
    for name, make, shape in NETWORKS if env.version(DIFFUSERS) else ():
        yield _network(name, make(), inputs_of(name, shape))


def _network(name: str, module: nn.Module, inputs: Inputs) -> Workload:
    """Products and sums counted by PyTorch."""
    module = _ready(module)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return Workload(name, tuple(inputs[0].shape), module, inputs, counter.get_total_flops(), 1e-3)


def dcgan_generator() -> nn.Module:
    """64x64 pixels (Radford et al. 2016), 512 channels at 4x4."""
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(True),
    ]
    for channels in (512, 256, 128):
        half = channels // 2
        layers += [
            nn.ConvTranspose2d(channels, half, 4, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels)]
        self.body = nn.Sequential(*half, nn.ReLU(True), *other)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


def cyclegan_generator(blocks: int = 9) -> nn.Module:
    """Zhu et al. 2017, appendix 7.2."""
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, 64, 7),
        nn.InstanceNorm2d(64),
        nn.ReLU(True),
    ]
    for c in (64, 128):
        layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), nn.InstanceNorm2d(2 * c), nn.ReLU(True)]
    layers += [_Residual(256) for _ in range(blocks)]
    for c in (256, 128):
        up = nn.ConvTranspose2d(c, c // 2, 3, 2, 1, output_padding=1)
        layers += [up, nn.InstanceNorm2d(c // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Tanh())


def _ready(module: nn.Module) -> nn.Module:
    """In inference, weights as they would be after training: outputs of order one."""
    return module.eval().requires_grad_(False)


def _bound(reduction: int) -> float:
    """`spec.tolerance` is relative to sums of magnitudes, which are √reduction larger than their root mean square."""
    return spec.tolerance(torch.float32, reduction, True) * math.sqrt(reduction)


@dataclass(frozen=True)
class UnitRow:
    """Milliseconds of one call, medians and first deciles, by competitor."""

    op: str
    workload: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    ours_ms: float | None
    planar_ms: float | None
    guarded_ms: float | None
    peers_ms: dict[str, float]
    fastest_ms: dict[str, float]
    best_peer: str | None
    ratio: float | None
    gflops: float | None
    error: float
    tolerance: float
    windows: int
    dropped: int
    contended: bool

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= self.tolerance


def workload_row(workload: Workload, peers: Sequence[ModulePeer], effort: Effort) -> UnitRow:
    """Everyone on the same module in turn, checked against it in float64 first."""
    with torch.no_grad():
        wide = tuple(x.double() for x in workload.inputs)
        want = copy.deepcopy(workload.module).double()(*wide)
        ours = workload.ours()
        error = max(float((run() - want).abs().max() / want.square().mean().sqrt()) for run in ours.values())
        runs = {**ours, **{p.name: p.prepare(copy.deepcopy(workload.module), workload.inputs) for p in peers}}
        trajectories: dict[str, Trajectory] = {name: Call(run) for name, run in runs.items()}
        result = measure(trajectories, range(1), torch.device("cpu"), effort)
    ms = {name: us / 1e3 for name, us in result.us.items()}
    times = {p.name: ms[p.name] for p in peers}
    best = min(times, key=lambda name: times[name]) if times else None
    fine = error <= workload.tolerance
    return UnitRow(
        op="conv_norm_act",
        workload=workload.name,
        shape=workload.shape,
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        ours_ms=ms["ours"] if fine else None,
        planar_ms=ms.get("ours planar") if fine else None,
        guarded_ms=ms.get("ours guarded") if fine else None,
        peers_ms=times,
        fastest_ms={name: us / 1e3 for name, us in result.fastest_us.items()},
        best_peer=best,
        ratio=times[best] / ms["ours"] if best and fine else None,
        gflops=workload.flops / ms["ours"] / 1e6 if workload.flops and fine else None,
        error=error,
        tolerance=workload.tolerance,
        windows=result.windows,
        dropped=result.dropped,
        contended=result.contended,
    )
