"""What writes in place says so: autograd refuses a backward that reads what was changed since it was kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import genfuse
from ops.step_rows import LINEAR, inputs, table

SHAPE = (3, 2, 5, 4)


class Watched(TorchDispatchMode):
    """Under which calls go through PyTorch's dispatcher."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def step(written: str) -> Callable[[Tensor], None]:
    """Into `written`, of what a step may write."""

    def run(kept: Tensor) -> None:
        arguments = inputs(SHAPE, kept.dtype)
        room = {name: torch.empty_like(arguments["x"]) for name in ("out", "stored")}
        given = {"out": room, "stored": room, "history": {"out": room["out"]}}[written]
        genfuse.ops.sampler_step_(table=table(), index=LINEAR, **(arguments | given | {written: kept}))

    return run


def sampler() -> genfuse.Sampler:
    return genfuse.Sampler("euler_ancestral", 4, seeds=0)


OPS: dict[str, Callable[[Tensor], Any]] = {
    "sampler_step_ to out": step("out"),
    "sampler_step_ to stored": step("stored"),
    "sampler_step_ to history": step("history"),
    "Sampler.step": lambda kept: sampler().step(torch.ones_like(kept), 0, torch.ones_like(kept), out=kept),
    "Sampler.add_noise": lambda kept: sampler().add_noise(torch.ones_like(kept), 1, out=kept),
    "ema_update": lambda kept: genfuse.ops.ema_update(kept, torch.zeros_like(kept), 0.5),
    "clip_weights": lambda kept: genfuse.ops.clip_weights(kept, 0.1),
    "clip_grad_norm": lambda kept: genfuse.ops.clip_grad_norm(kept, 0.1, are_gradients=True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dispatched", [False, True])
@pytest.mark.parametrize("op", OPS)
def test_a_change_since_it_was_kept_is_seen(op: str, dispatched: bool, dtype: torch.dtype) -> None:
    kept = torch.ones((4, *SHAPE) if "history" in op else SHAPE, dtype=dtype)
    weight = torch.ones_like(kept, requires_grad=True)
    loss = (weight * kept).sum()
    with torch.no_grad(), Watched() if dispatched else nullcontext():
        OPS[op](kept)
    assert not torch.equal(kept, torch.ones_like(kept))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_is_read_or_refused_is_not() -> None:
    """A backward that reads it is right: no version is counted up."""
    arguments = inputs(SHAPE)
    read = [tensor for tensor in arguments.values() if tensor is not arguments["history"]]
    before = [tensor._version for tensor in read]
    out, stored = torch.empty_like(arguments["x"]), torch.empty_like(arguments["x"])
    genfuse.ops.sampler_step_(table=table(), index=LINEAR, out=out, stored=stored, **arguments)
    assert [tensor._version for tensor in read] == before and arguments["history"]._version == 0
    assert out._version == stored._version == 1
    with pytest.raises(ValueError, match="overlaps"):
        genfuse.ops.sampler_step_(table=table(), index=LINEAR, out=out, stored=out, **arguments)
    with pytest.raises(ValueError, match="shape"):
        sampler().step(arguments["x"], 0, arguments["model_output"], out=out[:1])
    assert out._version == 1


def test_inference_tensors_have_no_versions() -> None:
    with torch.inference_mode():
        x = torch.ones(SHAPE)
        assert sampler().step(x, 0, torch.ones_like(x), out=x) is x
