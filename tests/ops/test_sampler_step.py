"""The public op: its gradient in closed form, torch.library's own checks, compilation, what is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.ops import sampler_step, sampler_step_
from genfuse_kernels.sampler_step import reference
from genfuse_kernels.sampler_step.row import COLUMN
from genfuse_kernels.sampler_step.spec import tolerance
from ops.step_rows import CLIP, LEARNED, LINEAR, QUIET, ROWS, inputs, table

DIFFERENTIABLE = ("x", "model_output", "uncond", "variance", "history", "noise", "noise_prev")
PER_SAMPLE = torch.tensor([LEARNED, CLIP, QUIET])
INDICES = [*ROWS.values(), PER_SAMPLE]
INDEX_NAMES = [*ROWS, "per sample"]
BACKENDS = ("aten", None)


@pytest.fixture(params=BACKENDS, ids=["aten", "automatic"])
def chosen(request: pytest.FixtureRequest) -> Any:
    with genfuse.backend(request.param):
        yield request.param


def both(index: int | Tensor, leaves: tuple[Tensor, ...], **fixed: Any) -> tuple[Tensor, Tensor]:
    """The op's two outputs as a function of every differentiable input."""
    arguments = dict(zip(DIFFERENTIABLE, leaves, strict=True)) | fixed
    x, model_output = arguments.pop("x"), arguments.pop("model_output")
    return sampler_step(x, model_output, table(), index, store=True, **arguments)


@pytest.mark.parametrize("index", INDICES, ids=INDEX_NAMES)
def test_gradient_and_its_gradient_against_differences(index: int | Tensor, chosen: str | None) -> None:
    arguments = inputs()
    leaves = tuple(arguments[name].requires_grad_() for name in DIFFERENTIABLE)
    scales = arguments["scales"]

    def step(*values: Tensor) -> tuple[Tensor, Tensor]:
        return both(index, values, scales=scales)

    assert torch.autograd.gradcheck(step, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(step, leaves, fast_mode=True)


@pytest.mark.parametrize("index", INDICES, ids=INDEX_NAMES)
@pytest.mark.parametrize("store", [False, True])
def test_gradient_is_that_of_the_reference(index: int | Tensor, store: bool) -> None:
    """Closed form against autograd through the definition, noise drawn from the seeds."""
    grads = []
    for op in ("ours", "reference"):
        arguments = inputs(noise=None, noise_prev=None, seeds=torch.tensor([5, -6, 2**62]))
        leaves = {name: arguments[name].requires_grad_() for name in DIFFERENTIABLE[:5]}
        if op == "ours":
            x, output = arguments.pop("x"), arguments.pop("model_output")
            result = sampler_step(x, output, table(), index, store=store, **arguments)
            y, stored = result if store else (result, None)
        else:
            y, stored = reference.sampler_step(table=table(), index=index, **arguments)
        total = y.square().sum() if not store else y.square().sum() + (stored * y).sum()
        grads.append(
            torch.autograd.grad(total, tuple(leaves.values()), allow_unused=True, materialize_grads=True)
        )
    for name, ours, expected in zip(DIFFERENTIABLE, *grads, strict=False):
        torch.testing.assert_close(
            ours, expected, rtol=1e-12, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_gradient_where_only_the_unconditional_output_is_given() -> None:
    """Guidance 0 reads `uncond` alone, so `model_output` may be absent."""
    rows = table()
    rows[:, COLUMN["guidance"]] = 0
    arguments = inputs(model_output=None)
    x = arguments.pop("x").requires_grad_()
    arguments["uncond"].requires_grad_()
    del arguments["model_output"]
    ours = torch.autograd.grad(
        sampler_step(x, None, rows, CLIP, **arguments).square().sum(), (x, arguments["uncond"])
    )
    y, _ = reference.sampler_step(x, None, rows, CLIP, **arguments)
    expected = torch.autograd.grad(y.square().sum(), (x, arguments["uncond"]))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def arguments_of_schema(index: int | Tensor, *, grad: bool) -> tuple[Any, ...]:
    a = inputs(noise=None, noise_prev=None)
    rows, row = (index, 0) if isinstance(index, Tensor) else (None, index)
    values = [
        a["x"],
        a["model_output"],
        table(),
        rows,
        row,
        a["uncond"],
        a["variance"],
        a["history"],
        None,
        None,
    ]
    for position in (0, 1, 5, 6, 7) if grad else ():
        values[position] = values[position].requires_grad_()
    return (*values, torch.tensor([1, 2, 3]), 0, a["scales"])


@pytest.mark.parametrize("index", [CLIP, PER_SAMPLE], ids=["row", "per sample"])
@pytest.mark.parametrize("grad", [False, True])
def test_opcheck(index: int | Tensor, grad: bool, chosen: str | None) -> None:
    for store in (False, True):
        torch.library.opcheck(
            torch.ops.genfuse.sampler_step.default, (*arguments_of_schema(index, grad=grad), store)
        )


@pytest.mark.parametrize("with_stored", [False, True])
def test_opcheck_in_place(with_stored: bool, chosen: str | None) -> None:
    arguments = arguments_of_schema(CLIP, grad=False)
    x = arguments[0]
    stored = torch.zeros_like(x) if with_stored else None
    torch.library.opcheck(torch.ops.genfuse.sampler_step_.default, (*arguments, torch.zeros_like(x), stored))


@pytest.mark.parametrize(
    "index", [THRESHOLD_INDEX := ROWS["threshold"], PER_SAMPLE], ids=["row", "per sample"]
)
def test_compiles_without_a_graph_break(index: int | Tensor) -> None:
    rows = table()

    def step(x: Tensor, output: Tensor, arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return sampler_step(x * 2, output, rows, index, store=True, **arguments)

    arguments = inputs()
    x, output = arguments.pop("x").requires_grad_(), arguments.pop("model_output")
    expected = step(x, output, arguments)
    torch._dynamo.reset()
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(x, output, arguments)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    grads = [torch.autograd.grad(y.square().sum() + s.sum(), x)[0] for y, s in (got, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_in_place_form_compiles() -> None:
    rows, arguments = table(), inputs()
    x, output = arguments.pop("x"), arguments.pop("model_output")
    history = arguments.pop("history")

    def step(x: Tensor, history: Tensor) -> Tensor:
        sampler_step_(x, output, rows, LINEAR, out=x, history=history, **arguments)
        return x + 1

    ours, kept = x.clone(), history.clone()
    torch._dynamo.reset()
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(ours, kept)
    y, stored = sampler_step(x, output, rows, LINEAR, store=True, history=history, **arguments)
    torch.testing.assert_close(got, y + 1, rtol=0, atol=0)
    torch.testing.assert_close(kept[2], stored, rtol=0, atol=0)


def test_fake_tensors_give_shape_dtype_and_strides() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(2, 3, 4, 5, dtype=torch.bfloat16, memory_format=torch.channels_last)
        y, stored = sampler_step(x, x, table(), QUIET, history=x.expand(4, *x.shape), store=True)
    for made in (y, stored):
        assert made.shape == x.shape and made.dtype == x.dtype and made.stride() == x.stride()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("index", INDICES, ids=INDEX_NAMES)
def test_both_forms_give_the_reference(
    dtype: torch.dtype, index: int | Tensor, chosen: str | None, poisoned: None
) -> None:
    """Functional and in-place form, `stored` given or in its history slot; arguments stay as they were."""
    arguments = inputs(dtype=dtype, noise=None, noise_prev=None, seeds=torch.tensor([1, 2, 3]))
    wide = {
        k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in arguments.items()
    }
    expected = reference.sampler_step(table=table(), index=index, **wide)
    bound = reference.magnitude(table=table(), index=index, **wide)
    relative, absolute = tolerance(dtype, terms=12)

    before = {name: value.clone() for name, value in arguments.items() if value is not None}
    x, output = arguments.pop("x"), arguments.pop("model_output")
    y, stored = sampler_step(x, output, table(), index, store=True, **arguments)
    after = {"x": x, "model_output": output, **arguments}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    for got, wanted, scale in zip((y, stored), expected, bound, strict=True):
        error = (got.double() - wanted).abs()
        assert (error <= relative * scale + absolute).all(), f"{(error / scale).max():.3g} > {relative:.3g}"

    out, slot = torch.empty_like(x), torch.empty_like(x)
    sampler_step_(x, output, table(), index, out=out, stored=slot, **arguments)
    assert torch.equal(out, y) and torch.equal(slot, stored)
    assert torch.equal(arguments["history"], before["history"])
    sampler_step_(x, output, table(), index, out=x, **arguments)
    assert torch.equal(x, y)
    assert torch.equal(arguments["history"][2], stored)
    assert torch.equal(arguments["history"][[0, 1, 3]], before["history"][[0, 1, 3]])


def test_zero_coefficient_never_loads(chosen: str | None) -> None:
    """NaN in an input that the row does not use stays out; an absent one is no error."""
    rows = torch.zeros(1, 32, dtype=torch.float64)
    rows[0, COLUMN["guidance"]], rows[0, COLUMN["y_x"]], rows[0, COLUMN["store"]] = 1, 0.5, -1
    rows[0, COLUMN["clip_min"]], rows[0, COLUMN["clip_max"]] = -1, 1
    arguments = {name: torch.full_like(value, torch.nan) for name, value in inputs().items()}
    x = torch.ones_like(arguments.pop("x"))
    output = arguments.pop("model_output")
    assert torch.equal(sampler_step(x, output, rows, 0, **arguments), x / 2)
    assert torch.equal(sampler_step(x, None, rows, 0), x / 2)


def test_channels_last_and_strides_keep_the_value(chosen: str | None) -> None:
    arguments = inputs((2, 3, 4, 6), seeds=torch.tensor([8, 9]), noise=None)
    x, output = arguments.pop("x"), arguments.pop("model_output")
    expected = sampler_step(x, output, table(), CLIP, **arguments)
    last = x.to(memory_format=torch.channels_last)
    y = sampler_step(last, output, table(), CLIP, **arguments)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    strided = torch.randn(4, 3, 4, 12, dtype=torch.float64)[::2, :, :, ::2].copy_(x)
    torch.testing.assert_close(
        sampler_step(strided, output, table(), CLIP, **arguments), expected, rtol=0, atol=0
    )


def test_the_in_place_form_refuses_gradients() -> None:
    arguments = inputs()
    x, output = arguments.pop("x").requires_grad_(), arguments.pop("model_output")
    with pytest.raises(UnsupportedError, match=r"sampler_step_ writes in place and has no gradient"):
        sampler_step_(x, output, table(), LINEAR, out=torch.empty_like(x), **arguments)
