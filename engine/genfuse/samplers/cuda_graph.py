"""`graph`: network and sampler step as one CUDA graph, which is replayed for each row of any table.

Coefficients, times, seeds and the row's index lie in device memory, where the kernels read them: the graph moves itself
on to the next row, and another run, another schedule or another solver is a copy into these buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from genfuse.errors import UnsupportedError
from genfuse.ops import check, sampler_reduce, sampler_step_
from genfuse.samplers.loop import Callback, Model, check_arguments, check_guidance, kept, runner, split
from genfuse.samplers.prediction import PredictionType
from genfuse.samplers.sampler import ClipLike, Sampler, ScheduleLike, SeedLike, as_shape, forward_rows
from genfuse.samplers.stepper import DeviceRows
from genfuse_kernels.philox_normal.spec import STREAM_FORWARD, STREAM_STEP

ROWS = 1024
"""Of the buffers that tables are copied into; more where the first one has more."""

WARM_UP = 3
"""Runs before the capture: kernels are compiled, loaded and tuned, libraries choose their algorithms."""


def graph(
    model: Model,
    shape: Sequence[int],
    *,
    sampler: str | Sampler = "dpmpp_2m",
    steps: int = 20,
    schedule: ScheduleLike = None,
    prediction: PredictionType | None = None,
    guidance: float | None = None,
    cond: dict[str, Any] | None = None,
    uncond: dict[str, Any] | None = None,
    clip: ClipLike = None,
    strength: float = 1.0,
    mask: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cuda",
) -> SampleGraph:
    """Capture network and sampler step in a CUDA graph; what comes back draws samples of one shape.

        draw = genfuse.graph(model, (16, 3, 32, 32), sampler="dpmpp_2m", steps=20)
        images = draw(seeds=0)

    Arguments as `genfuse.sample`'s. cond, uncond and mask are copied: the mask, and tensors in the others, may be given
    anew in each call, which has to give `init` where there is a mask; all else is part of the graph. The model runs
    `WARM_UP` times and is captured once, in inference; it must not wait for the device (`.item()`, a copy to the host)
    nor depend on values. Weights that are edited in place are seen.

    UnsupportedError where there is no CUDA device, or the model cannot be captured; else the errors of `sample`.
    """
    place = torch.device(device)
    if place.type != "cuda" or not torch.cuda.is_available():
        why = f"device is {place}, expected cuda" if place.type != "cuda" else "PyTorch sees no GPU"
        raise UnsupportedError(f"genfuse.graph captures a CUDA graph: {why}; genfuse.sample runs anywhere")
    chosen = runner(sampler, steps, schedule, prediction, guidance, clip, strength, None)
    check_arguments(model, cond, uncond, None)
    check_guidance(sampler, guidance, uncond)
    sizes, place = as_shape(shape), check.device("device", place)
    keep = None if mask is None else kept(mask, sizes, place)
    return SampleGraph(model, sizes, chosen, cond or {}, uncond or {}, keep, dtype, place)


class SampleGraph:
    """A captured row of a sampler's table. Made by `graph`; one at a time may run."""

    @torch.no_grad()
    def __init__(
        self,
        model: Model,
        shape: tuple[int, ...],
        sampler: Sampler,
        cond: dict[str, Any],
        uncond: dict[str, Any],
        keep: Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.sampler = sampler
        self._model, self._device = model, device
        self._needs = _needs(sampler)
        self._cond, self._uncond = _copied(cond, device), _copied(uncond, device)
        rows, kind = max(ROWS, len(sampler)), torch.float64 if dtype == torch.float64 else torch.float32
        self._x = torch.zeros(shape, dtype=dtype, device=device)
        self._seen = torch.empty_like(self._x) if self._needs["input_scale"] else self._x
        self._index = torch.zeros(1, dtype=torch.int64, device=device)
        self._seeds = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self._times, self._scales = (torch.zeros(rows, dtype=kind, device=device) for _ in range(2))
        like = DeviceRows(sampler.table.rows).beside(self._x)
        self._rows = like.new_zeros(rows, like.shape[1])
        self._known = None if keep is None else _Known(keep, self._x, self._rows)
        slots = sampler.table.history_slots
        self._history = torch.zeros(slots, *shape, dtype=dtype, device=device) if slots else None
        self._fill(sampler)
        self._replay = capture(self._row, device)

    def __len__(self) -> int:
        """Model calls of a whole run: replays."""
        return len(self.sampler)

    @torch.no_grad()
    def __call__(
        self,
        seeds: SeedLike = None,
        *,
        cond: dict[str, Any] | None = None,
        uncond: dict[str, Any] | None = None,
        init: Tensor | None = None,
        mask: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Samples by these seeds, a tensor of the caller's own: the same as `genfuse.sample` gives.

        seeds     as `sample`'s
        cond, uncond  like those of `graph`: the same names, tensors of the same shape and dtype, all else equal
        init      a picture to start from, where the sampler has a `strength`, or one that a mask keeps some of
        mask      as `sample`'s, of a graph that was captured with one; None: the last one
        callback  callback(row, t, x) after every row; x is the graph's own buffer

        ValueError or TypeError, before anything runs, for what does not fit.
        """
        check_arguments(self._model, cond, uncond, callback)
        if init is not None:
            check.sample("init", init)
            check.like("init", init, self._x)
        self._set_known(init, mask)
        for name, own, given in (("cond", self._cond, cond), ("uncond", self._uncond, uncond)):
            if given is not None:
                _copy(name, own, given)
        self.sampler.reset(seeds)
        if init is None:
            self._x.copy_(self.sampler.start(self._x.shape, dtype=self._x.dtype, device=self._device))
        else:
            self._x.copy_(self.sampler.add_noise(init, 0))
        self._seeds.copy_(self.sampler.batch_seeds(len(self._seeds), self._device))
        self._index.zero_()
        for i, t in enumerate(self.sampler.timesteps.tolist()):
            self._replay()
            if callback is not None:
                callback(i, t, self._x)
        return self._x.clone()

    def use(self, sampler: Sampler) -> None:
        """Draw by another table from now on: its coefficients are copied to where the graph reads them.

        ValueError where it needs what was not captured: another number of outputs of the network, more history, noise,
        reductions or a scaled input, or more rows than there is room for.
        """
        if not isinstance(sampler, Sampler):
            raise TypeError(f"sampler is {type(sampler).__name__}, expected a genfuse.Sampler")
        if len(sampler) > len(self._rows):
            raise ValueError(
                f"sampler has {len(sampler)} rows, expected at most {len(self._rows)}; make a new graph"
            )
        for name, needed in _needs(sampler).items():
            captured = self._needs[name]
            if needed > captured or (name in _OUTPUTS and needed != captured):
                raise ValueError(
                    f"sampler has {name} {needed}, the graph was captured with {captured}; make a new one"
                )
        self._fill(sampler)
        self.sampler = sampler

    def _set_known(self, init: Tensor | None, mask: Tensor | None) -> None:
        """Of a graph with a mask, where the picture stays and what of it."""
        if self._known is None:
            if mask is not None:
                raise ValueError(
                    "mask is given, the graph was captured without one; make a new one with mask="
                )
            return
        if init is None:
            raise ValueError(
                "init is missing: the graph was captured with a mask, which keeps some of a picture"
            )
        if mask is not None:
            self._known.keep.copy_(kept(mask, tuple(self._x.shape), self._device))
        self._known.init.copy_(init)

    def _fill(self, sampler: Sampler) -> None:
        table = sampler.table
        buffers = [
            (self._rows, table.rows),
            (self._times, sampler.timesteps),
            (self._scales, torch.from_numpy(table.input_scale)),
        ]
        if self._known is not None:
            clean = forward_rows(np.ones(1), np.zeros(1))
            buffers.append((self._known.rows, torch.cat([sampler.forward_rows, clean])))
        for buffer, values in buffers:
            buffer[: len(values)].copy_(values)

    def _row(self) -> None:
        """What is captured: a call of the network, and the step; no host, and of tensors only what the model makes."""
        x, index, batch = self._x, self._index, self._x.shape[0]
        t = self._times.index_select(0, index).expand(batch)
        if self._needs["input_scale"]:
            torch.mul(x, self._scales.index_select(0, index), out=self._seen)  # rounded once, to x's dtype
        learned = bool(self._needs["learned_variance"])
        output, variance = split(self._model(self._seen, t, **self._cond), x, learned)
        free = None
        if self._needs["guided"]:
            free, _ = split(self._model(self._seen, t, **self._uncond), x, learned)
        scales = (
            sampler_reduce(x, output, self._rows, index, uncond=free) if self._needs["reductions"] else None
        )
        seeds = self._seeds if self._needs["noise"] else None
        given = {
            "uncond": free,
            "variance": variance,
            "seeds": seeds,
            "stream": STREAM_STEP,
            "scales": scales,
        }
        sampler_step_(x, output, self._rows, index, out=x, history=self._history, **given)  # type: ignore[arg-type]
        index.add_(1)
        if self._known is not None:
            self._known.restore(x, index, self._seeds)


class _Known:
    """What a mask keeps: `init`, before each row with the noise of its level, at last as it is.

    keep, init, noised    of the samples' shape
    rows                  (rows + 1, columns): the forward process to each row's level, and to none
    """

    def __init__(self, keep: Tensor, x: Tensor, rows: Tensor) -> None:
        self.keep, self.rows = keep.contiguous(), rows.new_zeros(len(rows) + 1, rows.shape[1])
        self.init, self.noised = torch.zeros_like(x), torch.empty_like(x)

    def restore(self, x: Tensor, index: Tensor, seeds: Tensor) -> None:
        """Into x, before the row of this index."""
        sampler_step_(self.init, None, self.rows, index, out=self.noised, seeds=seeds, stream=STREAM_FORWARD)
        torch.where(self.keep, self.noised, x, out=x)


_OUTPUTS = ("guided", "learned_variance")
"""What of `_needs` says what the network returns, and has to be equal."""


def _needs(sampler: Sampler) -> dict[str, int]:
    """What a graph has for a sampler."""
    return {
        "guided": int(sampler.guided),
        "learned_variance": int(sampler.learned_variance),
        "history": sampler.table.history_slots,
        "noise": int(sampler.table.stochastic),
        "reductions": int(sampler.reduces),
        "input_scale": int(any(scale != 1 for scale in sampler.input_scale)),
    }


def capture(row: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What repeats all that `row` gives to the device. UnsupportedError where it cannot be captured."""
    make_stream: Any = torch.cuda.Stream  # untyped in PyTorch
    side, current = make_stream(device), torch.cuda.current_stream(device)
    side.wait_stream(current)
    with torch.cuda.device(device), torch.cuda.stream(side):
        for _ in range(WARM_UP):
            row()
    current.wait_stream(side)
    captured: Any = torch.cuda.CUDAGraph()
    try:
        # PyTorch's own stream for captures is the first GPU's that captured anything
        with torch.cuda.device(device), torch.cuda.graph(captured, stream=side):
            row()
    except RuntimeError as error:
        raise UnsupportedError(
            f"model cannot be captured in a CUDA graph: {error}; it must not wait for the device (.item(), a copy to "
            "the host), nor make tensors of host memory"
        ) from error
    replay: Callable[[], None] = captured.replay
    return replay


def _copied(values: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The same with tensors of the graph's own."""
    leaves, structure = tree_flatten(values)
    own = [leaf.detach().to(device, copy=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    copied: dict[str, Any] = tree_unflatten(own, structure)
    return copied


def _copy(name: str, own: dict[str, Any], given: dict[str, Any]) -> None:
    """Into the graph's own tensors, once all has been found to fit."""
    leaves, structure = tree_flatten(own)
    others, other_structure = tree_flatten(given)
    if structure != other_structure:
        raise ValueError(f"{name} has {other_structure}, the graph was captured with {structure}")
    for leaf, other in zip(leaves, others, strict=True):
        if isinstance(leaf, Tensor):
            if not isinstance(other, Tensor) or other.shape != leaf.shape or other.dtype != leaf.dtype:
                raise ValueError(
                    f"{name} has a tensor {_described(other)}, the graph was captured with {_described(leaf)}"
                )
        elif leaf is not other and leaf != other:
            raise ValueError(f"{name} has {other!r}, the graph was captured with {leaf!r}; make a new one")
    for leaf, other in zip(leaves, others, strict=True):
        if isinstance(leaf, Tensor):
            leaf.copy_(other)


def _described(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
