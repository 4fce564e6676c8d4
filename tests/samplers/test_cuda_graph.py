"""`genfuse.graph`: a captured row draws what `sample` draws, for any seeds, conditions and tables, without the host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.samplers import EDM, Clip, SampleGraph, Sampler, cuda_graph
from genfuse.samplers.cuda_graph import capture
from samplers import recorded_graph
from samplers.recorded_graph import RECORDED

SHAPE = (3, 2, 4, 4)


class Network(nn.Module):
    """A function of all that it is given, which allocates as networks do."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, outputs, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, shift: Tensor | None = None, scale: float = 1.0) -> Tensor:
        y: Tensor = self.conv(x) * scale + 1e-3 * t[:, None, None, None]
        return y if shift is None else y + shift[:, None, None, None]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is there, and keeps what it is given."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda_graph.check, "device", lambda name, device: torch.device("cpu"))
    monkeypatch.setattr(cuda_graph, "capture", recorded_graph.capture)


def drawn(model: nn.Module, seeds: Any, **options: Any) -> Tensor:
    made = genfuse.sample(model, SHAPE, seeds=seeds, **options)
    assert isinstance(made, Tensor)
    return made


def same(got: Tensor, want: Tensor) -> bool:
    """The row's index is read on the device instead of given: nothing else differs, but how a time is rounded."""
    return bool(want.isfinite().all()) and torch.allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "dpmpp_2m", "steps": 7},
        {"sampler": "unipc", "steps": 6, "schedule": "squaredcos_cap_v2"},
        {"sampler": "euler_ancestral", "steps": 5},
        {"sampler": "heun", "steps": 4},
        {"sampler": "ddpm", "steps": 5, "clip": 1.0},
        {"sampler": "euler", "steps": 4, "schedule": EDM()},
        {"sampler": "euler", "steps": 4, "schedule": "flow"},
        {"sampler": "ddim", "steps": 4, "clip": Clip(quantile=0.9, threshold_max=2.0)},
        {"sampler": "euler", "steps": 3, "dtype": torch.float64},
    ],
    ids=lambda options: f"{options['sampler']}-{options.get('schedule', '')}",
)
def test_a_graph_draws_what_sample_draws(recorded: None, options: dict[str, Any]) -> None:
    model = Network().to(options.get("dtype", torch.float32))
    draw = genfuse.graph(model, SHAPE, **options)
    for seeds in (0, [5, 5, -1]):
        assert same(draw(seeds), drawn(model, seeds, **options))


def test_python_does_not_run_between_rows(recorded: None) -> None:
    model, calls = Network(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    draw = genfuse.graph(model, SHAPE, steps=9)
    calls.clear()
    first = draw(1)
    assert not calls and len(draw) == 9
    assert torch.equal(draw(1), first) and not torch.equal(draw(2), first)


def test_weights_and_conditions_are_read_anew(recorded: None) -> None:
    model = Network()
    shifts = [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([-1.0, 0.5, 0.0])]
    options = {"sampler": "euler", "steps": 4, "guidance": 2.5}
    draw = genfuse.graph(model, SHAPE, cond={"shift": shifts[0], "scale": 0.5}, **options)
    for shift in shifts:
        cond = {"shift": shift, "scale": 0.5}
        assert same(draw(3, cond=cond), drawn(model, 3, cond=cond, **options))
    assert same(draw(4), drawn(model, 4, cond=cond, **options))  # the last one's stay
    with torch.no_grad():
        model.conv.weight.mul_(0.5)
    assert same(draw(3), drawn(model, 3, cond=cond, **options))
    for wrong, said in (
        ({"shift": shifts[0]}, "the graph was captured with"),
        (
            {"shift": shifts[0], "scale": 2.0},
            r"cond has 2.0, the graph was captured with 0.5; make a new one",
        ),
        ({"shift": torch.zeros(2), "scale": 0.5}, r"cond has a tensor \(2,\) torch.float32, .* with \(3,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            draw(3, cond=wrong)
    assert same(draw(3), drawn(model, 3, cond=cond, **options))


def test_another_table_is_a_copy_into_the_same_graph(recorded: None) -> None:
    model = Network()
    draw = genfuse.graph(model, SHAPE, sampler="unipc", steps=6)
    captures = len(RECORDED)
    for other in (
        Sampler("dpmpp_2m", 20),
        Sampler("unipc", 3, schedule="squaredcos_cap_v2"),
        Sampler("ddim", 11, prediction="v_prediction"),
    ):
        draw.use(other)
        assert same(draw(5), drawn(model, 5, sampler=other)) and len(draw) == len(other)
    assert len(RECORDED) == captures
    for wrong, said in (
        (Sampler("ddpm", 4), "sampler has noise 1, the graph was captured with 0"),
        (Sampler("euler", 4, schedule="edm"), "sampler has input_scale 1"),
        (Sampler("euler", 4, guidance=2.0), "sampler has guided 1"),
        (Sampler("ddim", 4, clip=Clip(quantile=0.9)), "sampler has reductions 1"),
    ):
        with pytest.raises(ValueError, match=said):
            draw.use(wrong)
    with pytest.raises(TypeError, match=r"sampler is str, expected a genfuse\.Sampler"):
        draw.use("euler")  # type: ignore[arg-type]
    assert same(draw(5), drawn(model, 5, sampler=other))


def test_what_was_captured_and_is_not_needed_does_nothing(recorded: None) -> None:
    model = Network()
    draw = genfuse.graph(model, SHAPE, sampler=Sampler("ddpm", 4, clip=Clip(quantile=0.9)))
    draw.use(other := Sampler("euler", 5))
    assert same(draw(5), drawn(model, 5, sampler=other))


def test_pictures_callbacks_and_learned_variance(recorded: None) -> None:
    model, init = Network(4), torch.rand(SHAPE)
    sampler = Sampler("ddpm", 8, strength=0.5, variance_type="learned_range")
    draw = genfuse.graph(model, SHAPE, sampler=sampler)
    rows: list[tuple[int, float]] = []
    got = draw(7, init=init, callback=lambda i, t, x: rows.append((i, t)))
    sampler.reset()
    want = genfuse.sample(model, SHAPE, sampler=sampler, seeds=7, init=init)
    assert same(got, want) and rows == list(enumerate(sampler.timesteps.tolist()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="init has shape"):
        draw(7, init=init[:2])


def test_the_step_is_one_kernel_and_makes_no_tensor(recorded: None) -> None:
    """Beside the network's own: the row's time, the step, and the index that moves on; neither copy nor allocation."""
    genfuse.graph(lambda x, t: x.mul(t[0]), SHAPE, sampler="dpmpp_2m")
    assert RECORDED[-1].names() == [
        "aten.index_select.default",
        "aten.mul.Tensor",
        "genfuse.sampler_step_.default",
        "aten.add_.Tensor",
    ]


@pytest.mark.parametrize(
    "wait",
    [
        lambda t: t.sum().item(),
        lambda t: float(t[0]),
        lambda t: bool((t > 0).all()),
        lambda t: torch.tensor([1.0, 2.0]),
        lambda t: t[t > 0],
        lambda t: t.to("cpu", copy=True),
    ],
    ids=["item", "float", "bool", "host tensor", "mask", "copy"],
)
def test_a_host_in_the_path_is_seen(recorded: None, wait: Callable[[Tensor], object]) -> None:
    """So that the tests above would fail on one."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        wait(t)
        return x * 0.5

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        genfuse.graph(model, SHAPE)


def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(
        UnsupportedError, match=r"a CUDA graph: device is cpu, expected cuda; genfuse.sample runs"
    ):
        genfuse.graph(Network(), SHAPE, device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedError, match="PyTorch sees no GPU"):
            genfuse.graph(Network(), SHAPE)


def test_arguments_are_checked_first(recorded: None) -> None:
    def never(x: Tensor, t: Tensor) -> Tensor:
        raise AssertionError

    with pytest.raises(ValueError, match="uncond is given without guidance"):
        genfuse.graph(never, SHAPE, uncond={})
    with pytest.raises(TypeError, match="model is int"):
        genfuse.graph(3, SHAPE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sampler"):
        genfuse.graph(never, SHAPE, sampler="oiler")


class StandInCuda:
    """What `capture` asks of torch.cuda, written down."""

    def __init__(self, fails: str | None = None) -> None:
        self.done: list[str] = []
        self.fails = fails

    def Stream(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(
            name="side", wait_stream=lambda other: self.done.append(f"side waits for {other.name}")
        )

    def current_stream(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(
            name="main", wait_stream=lambda other: self.done.append(f"main waits for {other.name}")
        )

    def CUDAGraph(self) -> SimpleNamespace:
        return SimpleNamespace(replay=lambda: self.done.append("replay"))

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        yield

    @contextmanager
    def stream(self, stream: SimpleNamespace) -> Iterator[None]:
        self.done.append(f"on {stream.name}")
        yield

    @contextmanager
    def graph(self, captured: object, stream: SimpleNamespace) -> Iterator[None]:
        self.done.append(f"capture on {stream.name}")
        yield
        if self.fails:
            raise RuntimeError(self.fails)


def test_kernels_are_warm_before_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stream of its own, which both sides wait for, as PyTorch asks, and which is of the device that captures."""
    cuda = StandInCuda()
    monkeypatch.setattr(cuda_graph.torch, "cuda", cuda)
    replay = capture(lambda: cuda.done.append("row"), torch.device("cuda", 0))
    replay()
    warm = ["row"] * cuda_graph.WARM_UP
    assert cuda.done == [
        "side waits for main",
        "on side",
        *warm,
        "main waits for side",
        "capture on side",
        "row",
        "replay",
    ]


def test_a_model_that_cannot_be_captured_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = StandInCuda(fails="CUDA error: operation not permitted when stream is capturing")
    monkeypatch.setattr(cuda_graph.torch, "cuda", cuda)
    with pytest.raises(
        UnsupportedError, match=re.escape("model cannot be captured in a CUDA graph: CUDA error")
    ):
        capture(lambda: None, torch.device("cuda", 0))


def test_names() -> None:
    assert genfuse.graph is cuda_graph.graph and genfuse.samplers.SampleGraph is SampleGraph


def test_a_mask_keeps_a_picture_in_the_graph(recorded: None) -> None:
    """As `sample` does, for solvers with noise, a scaled input and a second evaluation; both may be given anew."""
    masks = [torch.zeros(4, 4), torch.tensor([1.0, 0.0, 1.0])[:, None, None, None]]
    masks[0][1:3, 2:] = 1
    pictures = [torch.rand(SHAPE), torch.rand(SHAPE)]
    for sampler, schedule in (("ddpm", None), ("euler", "edm"), ("heun", None)):
        model = Network()
        draw = genfuse.graph(model, SHAPE, sampler=sampler, schedule=schedule, steps=4, mask=masks[0])
        for init, mask in zip(pictures, masks, strict=True):
            got = draw(3, init=init, mask=mask)
            options = {"sampler": sampler, "schedule": schedule, "steps": 4, "init": init, "mask": mask}
            assert same(got, drawn(model, 3, **options))
            stays = (mask == 0).broadcast_to(SHAPE)
            assert torch.equal(got[stays], init[stays])
        assert torch.equal(draw(3, init=pictures[1]), got)  # the last mask stays
    names = RECORDED[-1].names()
    assert names[-3:] == ["aten.add_.Tensor", "genfuse.sampler_step_.default", "aten.where.self_out"]
    other = Sampler("euler", 7)
    draw.use(other)
    want = drawn(model, 5, sampler=other, init=pictures[0], mask=masks[1])
    assert same(draw(5, init=pictures[0]), want)
    with pytest.raises(ValueError, match="init is missing: the graph was captured with a mask"):
        draw(3)
    with pytest.raises(ValueError, match="mask has shape"):
        draw(3, init=pictures[0], mask=torch.zeros(5, 5))
    with pytest.raises(ValueError, match="mask has values between or beyond 0 and 1"):
        genfuse.graph(model, SHAPE, mask=torch.full((4, 4), 0.5))
    with pytest.raises(ValueError, match="mask is given, the graph was captured without one"):
        genfuse.graph(model, SHAPE)(3, init=pictures[0], mask=masks[0])
