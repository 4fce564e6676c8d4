"""`sampler_step`: one fused step of any diffusion sampler, and its in-place form `sampler_step_`."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, NoReturn, overload

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty_like
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.gradient import sampler_step_gradient
from genfuse_kernels.sampler_step.row import HISTORY_SLOTS, ROW


class Inputs(NamedTuple):
    """What a step reads, in the order of the registered schema."""

    x: Tensor
    model_output: Tensor | None
    table: Tensor
    rows: Tensor | None
    row: int
    uncond: Tensor | None
    variance: Tensor | None
    history: Tensor | None
    noise: Tensor | None
    noise_prev: Tensor | None
    seeds: Tensor | None
    stream: int
    scales: Tensor | None

    def launch(self, out: Tensor, stored: Tensor | None) -> None:
        """Run the chosen backend's kernel. ValueError where a sample's row is out of range."""
        check.in_range("index", self.rows, self.table.shape[0], "a row of the table")
        dispatch.select("sampler_step", self.x.device, self.x.dtype)(
            out,
            stored,
            self.x,
            self.model_output,
            self.table,
            self.row if self.rows is None else self.rows,
            uncond=self.uncond,
            variance=self.variance,
            history=self.history,
            noise=self.noise,
            noise_prev=self.noise_prev,
            seeds=self.seeds,
            stream=self.stream,
            scales=self.scales,
        )

    def tensors(self) -> dict[str, Tensor | None]:
        """The tensors shaped like x, by argument name."""
        names = ("x", "model_output", "uncond", "variance", "noise", "noise_prev")
        return {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """TypeError or ValueError where anything does not fit x."""
        check.sample("x", self.x)
        for name, tensor in self.tensors().items():
            check.like(name, tensor, self.x)
        check_table(self.table, self.x)
        batch = self.x.shape[0]
        check.index("index", self.row if self.rows is None else self.rows, batch, self.table.shape[0], self.x)
        check.seeds(self.seeds, batch, self.x)
        check.word("stream", self.stream)
        if self.history is not None:
            check.dense("history", self.history, "(R, *x.shape)")
            slots = self.history.shape[0] if self.history.ndim else 0
            if slots > HISTORY_SLOTS:
                raise ValueError(
                    f"history has {slots} slots, expected at most {HISTORY_SLOTS}: (R, *x.shape)"
                )
            check.like("history", self.history, self.x, (slots, *self.x.shape))
        if self.scales is not None:
            check.dense("scales", self.scales, "(N, 2)")
            expected = self.x.dtype if self.x.dtype == torch.float64 else torch.float32
            if self.scales.dtype != expected:
                raise TypeError(f"scales has dtype {self.scales.dtype}, expected {expected}")
            if tuple(self.scales.shape) != (batch, 2):
                raise ValueError(f"scales has shape {tuple(self.scales.shape)}, expected ({batch}, 2)")
            check.same_device("scales", self.scales, self.x)


def check_table(table: Tensor, x: Tensor) -> None:
    """A table of coefficients: (rows, 32) float64, or float32 off the CPU, on x's device."""
    check.dense("table", table, "(rows, 32)")
    if table.dtype not in (torch.float64, torch.float32):
        raise TypeError(f"table has dtype {table.dtype}, expected torch.float64")
    if table.ndim != 2 or table.shape[1] != ROW:
        raise ValueError(f"table has shape {tuple(table.shape)}, expected (rows, {ROW})")
    check.same_device("table", table, x)


def _inputs(
    x: Tensor, model_output: Tensor | None, table: Tensor, index: int | Tensor, options: Any
) -> Inputs:
    rows, row = (index, 0) if isinstance(index, Tensor) else (None, index)
    inputs = Inputs(x, model_output, table, rows, row, **options)
    inputs.check()
    return inputs


@overload
def sampler_step(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = ...,
    variance: Tensor | None = ...,
    history: Tensor | None = ...,
    noise: Tensor | None = ...,
    noise_prev: Tensor | None = ...,
    seeds: Tensor | None = ...,
    stream: int = ...,
    scales: Tensor | None = ...,
    store: Literal[False] = ...,
) -> Tensor: ...
@overload
def sampler_step(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = ...,
    variance: Tensor | None = ...,
    history: Tensor | None = ...,
    noise: Tensor | None = ...,
    noise_prev: Tensor | None = ...,
    seeds: Tensor | None = ...,
    stream: int = ...,
    scales: Tensor | None = ...,
    store: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def sampler_step(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = None,
    variance: Tensor | None = None,
    history: Tensor | None = None,
    noise: Tensor | None = None,
    noise_prev: Tensor | None = None,
    seeds: Tensor | None = None,
    stream: int = STREAM_STEP,
    scales: Tensor | None = None,
    store: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Guidance, x0 prediction, clip, the solver's linear combination and fresh noise, in one pass.

    x             (N, ...) the sample; float32, float64, bfloat16 or float16 (arithmetic in float32, float64
                  where x is); any strides, channels-last without a copy
    model_output  like x; None where the row does not use it
    table         (rows, 32) float64, columns as `genfuse_kernels.sampler_step.row.COLUMNS`
    index         the table's row, or int64 (N,): one a sample
    uncond        like x: the output without the condition, mixed in by the row's guidance
    variance      like x: a learned log-variance, whose exponential scales the noise
    history       (R, *x.shape), R ≤ 4: stored tensors, by slot
    noise, noise_prev   like x, instead of what the seeds give for this row and the one before
    seeds         (N,) int64; stream: see `philox_normal`
    scales        (N, 2) from `sampler_reduce`, where the row rescales or thresholds
    store         also return the tensor that the row stores

    Returns the next sample, like x, or (next sample, stored). Differentiable in every floating input (the
    backward recomputes the step by PyTorch's own kernels). What is computed, element by element, stands in
    `genfuse_kernels/sampler_step/spec.py`. ValueError or TypeError before anything is computed: wrong shape,
    dtype or device, row out of range, a tensor that the row needs and that is absent.
    """
    options = (uncond, variance, history, noise, noise_prev, seeds, stream, scales)
    inputs = _inputs(x, model_output, table, index, dict(zip(Inputs._fields[5:], options, strict=True)))
    dispatched = needs_dispatcher(*inputs.tensors().values(), history, table, scales)
    y, stored = (torch.ops.genfuse.sampler_step if dispatched else _sampler_step)(*inputs, store)
    return (y, stored) if store else y


def sampler_step_(
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    out: Tensor,
    stored: Tensor | None = None,
    uncond: Tensor | None = None,
    variance: Tensor | None = None,
    history: Tensor | None = None,
    noise: Tensor | None = None,
    noise_prev: Tensor | None = None,
    seeds: Tensor | None = None,
    stream: int = STREAM_STEP,
    scales: Tensor | None = None,
) -> None:
    """`sampler_step` into `out`, so that a loop allocates nothing.

    out      like x; may be x, model_output or another input itself, but no slot of a history that is written
    stored   like x, receives the row's stored tensor; None: it goes to the row's slot of `history`, where the
             row stores anything

    Autograd hears of what is written: a backward that would read what it was before raises RuntimeError.
    Other arguments and errors as `sampler_step`; UnsupportedError where a gradient would be needed.
    """
    options = (uncond, variance, history, noise, noise_prev, seeds, stream, scales)
    inputs = _inputs(x, model_output, table, index, dict(zip(Inputs._fields[5:], options, strict=True)))
    if out is None:
        raise TypeError("out is None, expected a tensor like x")
    check.like("out", out, x)
    check.like("stored", stored, x)
    for name, written in (
        ("out", out),
        ("stored", stored),
        ("history", None if stored is not None else history),
    ):
        check.not_negated(name, written)
    tensors = (*inputs.tensors().values(), history, out, stored)
    if needs_gradient(*tensors):
        refuse_gradient("sampler_step_")
    if needs_dispatcher(*tensors, table, scales):
        torch.ops.genfuse.sampler_step_(*inputs, out, stored)
        return
    _sampler_step_(*inputs, out, stored)


def refuse_gradient(what: str) -> NoReturn:
    """UnsupportedError for a step into `out` of which autograd would have to know."""
    raise UnsupportedError(
        f"{what} writes in place and has no gradient, but an argument requires one; step without out "
        "(sampler_step, Sampler.step), or under torch.no_grad()"
    )


_INPUTS = (
    "Tensor x, Tensor? model_output, Tensor table, Tensor? rows, SymInt row, Tensor? uncond, "
    "Tensor? variance, Tensor{alias}? history, Tensor? noise, Tensor? noise_prev, "
    "Tensor? seeds, int stream, Tensor? scales"
)
define(f"sampler_step({_INPUTS.format(alias='')}, bool store) -> (Tensor, Tensor)")
define(f"sampler_step_({_INPUTS.format(alias='(c!)')}, Tensor(a!) out, Tensor(b!)? stored) -> ()")


@torch.library.impl(LIBRARY, "sampler_step", "CPU")
@torch.library.impl(LIBRARY, "sampler_step", "CUDA")
def _sampler_step(*arguments: Any) -> tuple[Tensor, Tensor]:
    *values, store = arguments
    inputs = Inputs(*values)
    out = empty_like(inputs.x)
    # an op that returns its results may not write its arguments: with a history, what is stored goes here
    stored = empty_like(inputs.x) if store or inputs.history is not None else None
    inputs.launch(out, stored)
    return out, stored if store and stored is not None else inputs.x.new_empty(0)


@torch.library.impl(LIBRARY, "sampler_step_", "CPU")
@torch.library.impl(LIBRARY, "sampler_step_", "CUDA")
def _sampler_step_(*arguments: Any) -> None:
    *values, out, stored = arguments
    inputs = Inputs(*values)
    readers = inputs.tensors()
    slots = {} if inputs.history is None else {f"history[{k}]": h for k, h in enumerate(inputs.history)}
    outputs: dict[str, Tensor | None] = slots if stored is None else {"stored": stored}
    check.writable("out", out, readers | slots, outputs | {"scales": inputs.scales})
    if stored is not None:
        check.writable("stored", stored, readers | slots, {"out": out, "scales": inputs.scales})
    inputs.launch(out, stored)
    written = (out, inputs.history if stored is None else stored)
    increment_version([tensor for tensor in written if tensor is not None])


@fake("sampler_step")
def _fake_step(*arguments: Any) -> tuple[Tensor, Tensor]:
    x, store = arguments[0], arguments[-1]
    return torch.empty_like(x), torch.empty_like(x) if store else x.new_empty(0)


@fake("sampler_step_")
def _fake_step_(*arguments: Any) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    tensors = [value if isinstance(value, Tensor) else None for value in inputs]
    ctx.save_for_backward(*tensors)
    ctx.others = [None if isinstance(value, Tensor) else value for value in inputs]


def _backward(ctx: Any, grad_y: Tensor | None, grad_stored: Tensor | None) -> tuple[Tensor | None, ...]:
    *values, store = [t if t is not None else o for t, o in zip(ctx.saved_tensors, ctx.others, strict=True)]
    inputs = Inputs(*values)
    rows = (
        inputs.table.select(0, inputs.row)[None]
        if inputs.rows is None
        else inputs.table[inputs.rows.reshape(-1)]
    )
    noise = inputs.noise
    if noise is None and inputs.seeds is not None and inputs.variance is not None:
        noise = torch.ops.genfuse.philox_normal(
            inputs.seeds, list(inputs.x.shape), inputs.rows, inputs.row, inputs.stream, inputs.x.dtype
        )
    grads = sampler_step_gradient(
        torch.zeros_like(inputs.x) if grad_y is None else grad_y,
        grad_stored if store else None,
        inputs.x,
        inputs.model_output,
        rows,
        uncond=inputs.uncond,
        variance=inputs.variance,
        slots=0 if inputs.history is None else inputs.history.shape[0],
        noise=noise,
        scales=inputs.scales,
    )
    wanted = zip((*Inputs._fields, "store"), ctx.needs_input_grad, strict=True)
    return tuple(grads.get(name) if needed else None for name, needed in wanted)


torch.library.register_autograd("genfuse::sampler_step", _backward, setup_context=_setup_context, lib=LIBRARY)
