"""Small pictures of which Triton has too few programs go to CUDA's split sums, where these are; `explain` says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

triton = pytest.importorskip("triton")

import genfuse  # noqa: E402
from genfuse import dispatch, env  # noqa: E402
from genfuse.ops.conv_launch import _underfilled, limits, underfilled  # noqa: E402
from genfuse_bench.compiled import standin_driver  # noqa: E402
from genfuse_kernels.conv_norm_act.settings import Settings  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_plan import programs_of_one  # noqa: E402


@pytest.fixture(autouse=True)
def target() -> Iterator[None]:
    """What Triton's plans are made for."""
    with standin_driver("sm_90"):
        yield


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Backends that this machine, which has a GPU, is without."""
    without: set[str] = set()
    monkeypatch.setattr(env, "backend_missing", lambda name: "not here (test)" if name in without else None)
    monkeypatch.setattr(env, "incapable", lambda device: None)
    monkeypatch.setattr("genfuse_kernels.common.cuda_launch.way", lambda: "compiled here (test)")
    return without


def explained(batch: int = 1, channels: int = 512, size: int = 8, **options: Any) -> dispatch.Choice:
    with FakeTensorMode():
        x, weight = (
            torch.empty(*shape, device="cuda", dtype=torch.float16)
            for shape in ((batch, channels, size, size), (channels, channels, 3, 3))
        )
        if options.pop("trains", False):
            weight = weight.requires_grad_()
        return genfuse.explain("conv_norm_act", x, weight, padding=1, **options)


WHY = (
    "one picture is 4 programs, fewer than half of a device's multiprocessors; cuda, which splits its sums, "
    "has 32 blocks"
)


@pytest.mark.parametrize("batch", [1, 64])
def test_a_small_picture_is_cudas_whatever_the_batch(missing: set[str], batch: int) -> None:
    choice = explained(batch)
    assert choice.backend == "cuda" and "sums in 8 segments" in choice.reason
    assert choice.passed_over["triton"] == WHY


@pytest.mark.parametrize(
    "call",
    [
        {"size": 32, "channels": 128},  # sums of larger pictures are whole
        {"size": 16, "channels": 32},  # too short a sum
        {"dropout": 0.1},  # nothing of CUDA's
        {"trains": True},
    ],
)
def test_other_calls_stay_with_triton(missing: set[str], call: dict[str, Any]) -> None:
    assert explained(**call).backend == "triton"


def test_without_cuda_nothing_is_passed_over(missing: set[str]) -> None:
    missing.add("cuda")
    assert explained().backend == "triton"


def test_what_is_forced_or_measured_is_asked_nothing(missing: set[str]) -> None:
    with genfuse.backend("triton"):
        assert explained().backend == "triton"
    with FakeTensorMode():
        x, weight = (torch.empty(shape, device="cuda") for shape in ((1, 512, 8, 8), (512, 512, 3, 3)))
    s = Settings(padding=(1, 1))
    assert underfilled(x, weight, s).keys() == {"triton"}
    with genfuse.backend(reproducible=False):
        assert underfilled(x, weight, s) == {}


def test_sizes_may_be_symbols(missing: set[str]) -> None:
    """As where a call of any size is compiled."""
    x, weight = torch.empty(1, 512, 8, 8, device="meta"), torch.empty(512, 512, 3, 3, device="meta")
    sizes = StatelessSymbolicContext([DimDynamic.STATIC] * 2 + [DimDynamic.DYNAMIC] * 2)
    x = FakeTensorMode(shape_env=ShapeEnv()).from_tensor(x, symbolic_context=sizes)
    assert not isinstance(x.shape[2], int)
    assert limits(x, weight, Settings(padding=(1, 1))) == {}


def test_the_choice_is_of_shapes_that_split_and_fill_more() -> None:
    s = Settings(padding=(1, 1))
    assert _underfilled((512, 512, 3, 3), s, (8, 8), torch.float16) == WHY
    assert _underfilled((512, 512, 3, 3), s, (32, 32), torch.float16) is None
    assert _underfilled((512, 512, 3, 3), s._replace(pool=(2, 2)), (8, 8), torch.float16) is None


@pytest.mark.parametrize(
    "weight, size, options",
    [
        ((512, 512, 3, 3), 8, {"padding": (1, 1)}),
        ((48, 512, 3, 3), 16, {"padding": (1, 1), "stride": (2, 2)}),
        ((64, 96, 4, 4), 8, {"padding": (1, 1), "stride": (2, 2), "transposed": True}),
        ((64, 1, 3, 3), 16, {"padding": (1, 1), "groups": 64}),
        ((64, 32, 1, 1), 16, {"groups": 2}),
    ],
)
def test_programs_are_those_that_are_launched(
    monkeypatch: pytest.MonkeyPatch, weight: tuple[int, ...], size: int, options: dict[str, Any]
) -> None:
    launched: list[tuple[int, ...]] = []

    def note(self: Any, *_: Any, grid: tuple[int, ...], **__: Any) -> None:
        launched.append(grid)

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", note)
    s = Settings(**options)
    made = (2 * size if s.transposed else size // s.stride[0],) * 2

    def image(channels: int, *shape: int) -> Tensor:
        return torch.empty(1, channels, *shape).to(memory_format=torch.channels_last)

    inputs, outputs = (weight[0], weight[1]) if s.transposed else (weight[1], weight[0])
    conv_norm_act(
        image(outputs, *made), None, image(inputs * s.groups, size, size), torch.empty(weight), None, s
    )
    assert launched == [(programs_of_one(weight, s, made, torch.float32),)]


def test_only_calls_without_a_graph_behind_them_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled graph may be part of training, whose backward runs on what ran forward."""
    asked: list[bool] = []
    monkeypatch.setattr("genfuse.ops.conv_launch.underfilled", lambda *_: asked.append(True) or {})
    x, weight = torch.randn(2, 32, 8, 8), torch.randn(32, 32, 3, 3, requires_grad=True)

    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        return genfuse.ops.conv_norm_act(x, weight, padding=1)

    compiled = torch.compile(convolved, backend="aot_eager", fullgraph=True)
    for run in (convolved, compiled):
        run(x, weight).sum().backward()
    with torch.no_grad():
        compiled(x, weight)
    assert not asked
    with torch.no_grad():
        convolved(x, weight)
    assert asked == [True]
