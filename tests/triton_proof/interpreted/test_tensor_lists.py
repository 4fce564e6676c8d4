"""`ema_update`, `clip_weights` and `clip_grad_norm` in Triton against their references."""

from __future__ import annotations

from itertools import chain
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from triton.runtime.errors import InterpreterError

from genfuse.lab import interpreter
from genfuse_kernels.clip_grad_norm import reference as grad_norm_reference
from genfuse_kernels.clip_grad_norm import spec as grad_norm_spec
from genfuse_kernels.clip_grad_norm.triton_impl import clip_grad_norm
from genfuse_kernels.clip_weights.triton_impl import clip_weights
from genfuse_kernels.common import tensor_table
from genfuse_kernels.ema_update import reference as ema_reference
from genfuse_kernels.ema_update import spec as ema_spec
from genfuse_kernels.ema_update.triton_impl import ema_update
from genfuse_kernels.spectral_norm.triton_impl import spectral_norm, spectral_norm_gradient
from samplers.recorded_graph import Recorder

DTYPES = ema_spec.DTYPES
SHAPES = ((), (0,), (3,), (17, 5), (2, 3, 4, 5), (1500,), (5, 3, 7))


MODULES = ("ema_update", "clip_weights", "clip_grad_norm", "spectral_norm")


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    """Two programs a tensor, and tiles of 64: each program takes several, the last of them cut off."""
    monkeypatch.setattr(tensor_table, "SHARE", 2)
    monkeypatch.setattr("genfuse_kernels.clip_grad_norm.triton_impl.SHARE", 2)
    monkeypatch.setattr(tensor_table, "TILE", 64)


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    """Kernels may touch what is put into a table, and nothing else."""

    def reached(original):
        def tables(lists, *rest):
            interpreter.within_reach.extend(chain(*lists))
            return original(lists, *rest)

        return tables

    for module in MODULES:
        name = f"genfuse_kernels.{module}.triton_impl.tables"
        monkeypatch.setattr(name, reached(resolve_name(name)))
    yield
    interpreter.within_reach.clear()


def tensors(seed: int, dtypes=DTYPES) -> list[torch.Tensor]:
    """Contiguous, transposed, channels-last and with gaps, of random dtypes."""
    rng = np.random.default_rng(seed)
    made = []
    for shape in SHAPES:
        dtype = dtypes[rng.integers(len(dtypes))]
        values = torch.from_numpy(np.asarray(rng.standard_normal(shape))).to(dtype)
        kind = rng.integers(3)
        if kind == 1 and values.ndim > 1:
            values = values.transpose(0, -1).contiguous().transpose(0, -1)
        elif kind == 2 and values.ndim > 1:
            values = torch.empty(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2].copy_(values)
        made.append(values)
    return made


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 0.999, 1.0])
def test_averages(decay):
    averages = tensors(1)
    single = tuple(dtype for dtype in DTYPES if dtype != torch.float64)
    parameters = [
        p.to(torch.float64) if a.dtype == torch.float64 else p
        for a, p in zip(averages, tensors(2, single), strict=True)
    ]
    before = [a.clone() for a in averages]
    ema_update(averages, parameters, decay)
    for average, old, parameter in zip(averages, before, parameters, strict=True):
        want = ema_reference.ema_update(old.double(), parameter.double(), decay)
        assert ((average.double() - want).abs() <= ema_spec.tolerance(old, parameter)).all()


@pytest.mark.parametrize("bound", [0.0, 0.3])
def test_weights(bound):
    parameters = tensors(3)
    parameters[5][:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    want = [p.clamp(-bound, bound) for p in parameters]
    clip_weights(parameters, bound)
    for parameter, expected in zip(parameters, want, strict=True):
        assert torch.equal(parameter.nan_to_num(9), expected.nan_to_num(9))


@pytest.mark.parametrize("max_norm", [0.5, 1e6, torch.inf])
@pytest.mark.parametrize("dtypes", [DTYPES, (torch.float32,)])
def test_gradients(max_norm, dtypes):
    gradients = tensors(4, dtypes)
    before = [g.clone() for g in gradients]
    norm = torch.full((), torch.nan, dtype=grad_norm_spec.norm_dtype(gradients))
    clip_grad_norm(norm, gradients, max_norm, False)
    want, scaled = grad_norm_reference.clip_grad_norm([g.double() for g in before], max_norm)
    elements = sum(g.numel() for g in gradients)
    assert abs(norm.double() - want) <= grad_norm_spec.norm_tolerance(norm, elements)
    for gradient, value, old in zip(gradients, scaled, before, strict=True):
        allowed = grad_norm_spec.tolerance(gradient, norm.dtype, elements)
        assert ((gradient.double() - value).abs() <= allowed).all()
        assert max_norm < 10 or torch.equal(gradient, old)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_norm_that_is_not_finite(value):
    gradient, norm = torch.tensor([1.0, value, 2.0]), torch.zeros(())
    clip_grad_norm(norm, [gradient], 1.0, True)
    assert gradient[0] == 1 and not norm.isfinite()
    clip_grad_norm(norm, [gradient], 1.0, False)
    want = torch.tensor([1.0, value, 2.0])
    want.mul_((1.0 / (torch.tensor(value) + 1e-6)).clamp(max=1.0))
    torch.testing.assert_close(gradient, want, equal_nan=True)


def test_extreme_gradients():
    for scale in (1e-30, 1e30):
        gradient, norm = torch.full((100,), scale), torch.zeros(())
        clip_grad_norm(norm, [gradient], torch.inf, False)
        assert norm.item() == pytest.approx(10 * scale, rel=1e-6)


def test_bytes_and_launches():
    a, p = [torch.randn(200), torch.randn(70)], [torch.randn(200), torch.randn(70)]
    with interpreter.record() as traffic:
        ema_update(a, p, 0.9)
    assert traffic.launches == 1
    assert all(traffic.loaded[t.data_ptr()] == t.nbytes for t in (*a, *p))
    assert all(traffic.stored[t.data_ptr()] == t.nbytes for t in a)
    norm = torch.zeros(())
    with interpreter.record() as traffic:
        clip_grad_norm(norm, p, 1e9, False)
    assert all(traffic.loaded[t.data_ptr()] == t.nbytes and traffic.stored[t.data_ptr()] == 0 for t in p)


def test_memory_out_of_the_table_is_seen(monkeypatch):
    monkeypatch.setattr("genfuse_kernels.ema_update.triton_impl.tables", tensor_table.tables)
    with pytest.raises(InterpreterError, match="out-of-bounds load"):
        ema_update([torch.zeros(8)], [torch.ones(8)], 0.9)


def step(seed: int):
    """All launchers of lists, as a training step calls them on tensors that stay; what it changes."""
    torch.manual_seed(seed)
    weights = [torch.randn(5, 7), torch.randn(70), torch.randn(3, 4).bfloat16()]
    averages, gradients = [w.float() for w in weights], [torch.randn_like(w) for w in weights]
    norm, layer, u, v = torch.zeros(()), torch.randn(20, 9), torch.ones(20), torch.ones(9)
    made, sigmas, vectors = torch.zeros(20, 9), torch.zeros(1), torch.zeros(29)
    through = torch.zeros(20, 9)

    def run():
        clip_grad_norm(norm, gradients, 0.5, False)
        clip_weights(weights, 0.3)
        ema_update(averages, weights, 0.9)
        spectral_norm([made], sigmas, vectors, [layer], [u], [v], [0], 1, 1e-12)
        spectral_norm_gradient([through], [layer], [made], sigmas, vectors, [0])

    return run, (*weights, *averages, *gradients, norm, u, v, made, sigmas, vectors, through)


def test_a_second_step_copies_nothing_from_the_host():
    """`Recorder` refuses that; what it says of other copies is the interpreter's own."""
    run, _ = step(5)
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"), Recorder():
        run()
    run()
    with Recorder():
        run()


def test_a_step_that_is_captured_copies_nothing_and_keeps_nothing(monkeypatch):
    """On tensors of the capture's own too, which no step before had; the same bits."""
    before = tensor_table._kept.cache_info()
    run, captured = step(6)
    with monkeypatch.context() as patch, Recorder():
        patch.setattr(tensor_table, "_is_capturing", lambda device: True)
        run()
    assert tensor_table._kept.cache_info() == before
    run, want = step(6)
    run()
    for a, b in zip(captured, want, strict=True):
        assert torch.equal(a, b)


def test_tables_are_kept_by_all_their_numbers_and_no_more_than_some(monkeypatch):
    tensor_table._kept.cache_clear()
    weights = [torch.randn(8), torch.randn(9)]
    for bound in (0.5, 0.25, 0.5):
        clip_weights(weights, bound)
        assert max(w.abs().max() for w in weights) <= bound
    assert tensor_table._kept.cache_info()[:2] == (1, 2)  # hits, misses
    for number in range(2 * tensor_table.KEPT):
        clip_weights([weights[0]], 1.0 + number)
    assert tensor_table._kept.cache_info().currsize == tensor_table.KEPT
