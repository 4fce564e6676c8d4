"""`ema_update` against float64 on every backend and instruction set, and beside `torch.lerp`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import clip_grad_norm, clip_weights, ema_update, tensor_list
from genfuse_kernels.ema_update import aten_impl, cpu_impl, reference, reference_impl, spec
from ops import list_cases
from ops.cpu_cases import DTYPES, threads, untouched_elsewhere

DECAYS = (0.0, 0.1, 0.5, 0.7, 0.9999, 1.0)
LAUNCHERS = (aten_impl.ema_update, reference_impl.ema_update)


def pairs(
    seed: int, dtypes: tuple[torch.dtype, ...] = DTYPES, extreme: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    rng = np.random.default_rng(seed)
    averages = list_cases.tensors(rng, dtypes, extreme=extreme)
    single = tuple(dtype for dtype in dtypes if dtype != torch.float64)
    return averages, [list_cases.like(rng, average, single, extreme) for average in averages]


def hold(launch, averages: list[Tensor], parameters: list[Tensor], decay: float) -> None:
    before = [average.clone() for average in averages]
    sources = [parameter.clone() for parameter in parameters]
    launch(averages, parameters, decay)
    for average, parameter, old, source in zip(averages, parameters, before, sources, strict=True):
        want = reference.ema_update(old.double(), source.double(), decay)
        overflows = want.to(average.dtype).isinf()
        error = torch.where(overflows & average.isinf(), 0, average.double() - want).abs()
        assert (error <= spec.tolerance(old, source)).all(), (average.dtype, source.dtype, average.shape)
        assert torch.equal(parameter, source)
        assert untouched_elsewhere(average)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("decay", DECAYS)
def test_cpu_kernel_equals_the_reference(isa: str, decay: float, extreme: bool) -> None:
    hold(cpu_impl.ema_update, *pairs(int(decay * 1e4) + extreme, extreme=extreme), decay)


@pytest.mark.parametrize("launch", LAUNCHERS)
def test_other_backends_equal_the_reference(launch) -> None:
    for seed, decay in enumerate(DECAYS):
        hold(launch, *pairs(seed), decay)


def test_it_is_lerp_where_dtypes_are_equal(isa: str) -> None:
    """Non-finite values too; to an ulp of the larger end, for a product and sum that are rounded once or twice."""
    special = torch.tensor([0.0, -0.0, 1.0, -3.5, torch.inf, -torch.inf, torch.nan, 3e38, -3e38, 1e-45])
    for decay in DECAYS:
        a, p = (t.flatten().clone() for t in torch.meshgrid(special, special, indexing="ij"))
        want = torch.lerp(a, p, 1 - decay)
        ema_update(a, p, decay)
        assert torch.equal(a.isfinite(), want.isfinite()) and torch.equal(a.isnan(), want.isnan())
        torch.testing.assert_close(a, want, equal_nan=True, rtol=3e-7, atol=3e31)
    same = torch.randn(999)
    kept = same.clone()
    ema_update(same, same.clone(), 0.3)
    assert torch.equal(same, kept)


def test_bits_do_not_depend_on_threads_or_the_rest_of_the_list(isa: str) -> None:
    averages, parameters = pairs(3)
    averages.append(torch.randn(300_001))
    parameters.append(torch.randn(300_001))
    results = []
    for count in (1, 2, 3):
        copies = [average.clone() for average in averages]
        with threads(count):
            ema_update(copies, parameters, 0.99)
        results.append(copies)
    alone = averages[-1].clone()
    ema_update(alone, parameters[-1], 0.99)
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    assert torch.equal(alone, results[0][-1])


def test_an_average_may_be_its_own_parameter() -> None:
    a = torch.randn(50)
    before = a.clone()
    ema_update([a], [a], 0.9)
    assert torch.equal(a, before)


def test_one_parameter_may_serve_many_averages_and_be_expanded() -> None:
    p = torch.randn(1, 6).expand(5, 6)
    a, b = torch.zeros(5, 6), torch.ones(5, 6)
    ema_update([a, b], [p, p], 0.5)
    torch.testing.assert_close(a, 0.5 * p)
    torch.testing.assert_close(b, 0.5 + 0.5 * p)


def test_float64_beside_float32_runs_on_aten_and_is_named() -> None:
    a, p = torch.zeros(4, dtype=torch.float64), torch.ones(4)
    choice = genfuse.explain("ema_update", [a], [p], 0.9)
    assert choice.backend == "aten" and "both or neither float64" in choice.passed_over["cpu"]
    ema_update([a], [p], 0.75)
    assert a.tolist() == [0.25] * 4
    with (
        genfuse.backend(strict=True),
        pytest.raises(genfuse.errors.UnsupportedError, match="neither float64"),
    ):
        ema_update([a], [p], 0.75)
    assert a.tolist() == [0.25] * 4
    assert genfuse.explain("ema_update", [p], [p], 0.9).backend == "cpu"


def test_more_axes_than_a_kernel_takes() -> None:
    a = torch.zeros([2] * 16).transpose(0, 1)
    assert "16 axes, expected at most 15" in genfuse.explain("ema_update", [a], [a], 0.9).passed_over["cpu"]
    ema_update([a], [torch.ones_like(a)], 0.75)
    assert (a == 0.25).all()


@pytest.mark.parametrize(
    ("averages", "parameters", "decay", "error", "message"),
    [
        ([torch.ones(2)], [torch.ones(2)], 1.5, ValueError, r"decay is 1.5, expected a number in \[0, 1\]"),
        ([torch.ones(2)], [torch.ones(2)], torch.nan, ValueError, "decay is nan"),
        ([torch.ones(2)], [torch.ones(2)], "x", TypeError, "decay is 'x', expected a number"),
        ([torch.ones(2)], [], 0.9, ValueError, "averages has 1 tensors, expected 0"),
        ([torch.ones(2)], [torch.ones(3)], 0.9, ValueError, r"averages\[0\] has shape \(2,\), expected \(3,\)"),
        ([torch.ones(2, dtype=torch.int64)], [torch.ones(2)], 0.9, TypeError, r"averages\[0\] has dtype torch.int64"),
        ([torch.ones(2)], [torch.ones(2) * 1j], 0.9, TypeError, r"parameters\[0\] has dtype torch.complex64"),
        ([torch.ones(2)], [torch.ones(2).to_sparse()], 0.9, TypeError, r"parameters\[0\] has layout torch.sparse_coo"),
        ([torch.ones(2)], [None], 0.9, TypeError, r"parameters\[0\] is NoneType, expected a tensor"),
        (7, [torch.ones(2)], 0.9, TypeError, "averages is int, expected tensors"),
        ([torch.ones(1).expand(3)], [torch.ones(3)], 0.9, ValueError, r"averages\[0\] overlaps itself in memory"),
        ([torch.ones(2, device="meta")], [torch.ones(2, device="meta")], 0.9, TypeError, r"averages\[0\] is on meta"),
    ],
)  # fmt: skip
def test_what_is_refused(averages, parameters, decay, error, message) -> None:
    with pytest.raises(error, match=message):
        ema_update(averages, parameters, decay)
    if isinstance(averages, list) and not averages[0].is_meta:
        assert (averages[0] == 1).all()


def test_overlaps_are_named_before_anything_is_written() -> None:
    memory = torch.arange(20.0)
    whole, part, far, apart = memory[:12], memory[4:8], memory[14:18], torch.ones(4)
    for averages, parameters, message in (
        ([far, whole, part], [far, whole, part], r"averages\[2\] overlaps averages\[1\] in memory"),
        ([part, part], [apart, apart], r"averages\[1\] overlaps averages\[0\] in memory"),
        ([part], [memory[5:9]], r"parameters\[0\] overlaps averages\[0\]"),
        ([memory[5:9]], [part], r"averages\[0\] overlaps parameters\[0\]"),
        (
            [part, far],
            [far, apart],
            r"(averages\[1\] overlaps parameters|parameters\[0\] overlaps averages\[1\])",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            ema_update(averages, parameters, 0.9)
        assert torch.equal(memory, torch.arange(20.0))


def test_negated_views_and_inference_tensors() -> None:
    negated = torch.ones(3, dtype=torch.complex64).conj().imag
    with pytest.raises(ValueError, match=r"averages\[0\] is a negated view"):
        ema_update([negated], [torch.ones(3)], 0.9)
    a = torch.ones(3)
    ema_update([a], [(torch.ones(3) * 2j).conj().imag], 0.5)
    assert a.tolist() == [-0.5] * 3
    with torch.inference_mode():
        frozen = torch.ones(3)
        ema_update([frozen], [torch.zeros(3)], 0.5)
    with pytest.raises(RuntimeError, match=r"averages\[0\] is an inference tensor"):
        ema_update([frozen], [torch.zeros(3)], 0.5)
    assert frozen.tolist() == [0.5] * 3


def test_parameters_that_require_gradients() -> None:
    a, p = torch.zeros(3), torch.nn.Parameter(torch.ones(3))
    for averages, parameters, name in (([a], [p], "parameters"), ([p], [a], "averages")):
        with pytest.raises(
            genfuse.errors.UnsupportedError, match=rf"{name}\[0\] requires one; call it under"
        ):
            ema_update(averages, parameters, 0.5)
    with torch.no_grad():
        ema_update([p], [a], 0.5)
    assert p.tolist() == [0.5] * 3 and p.requires_grad and p.is_leaf


def test_autograd_sees_that_an_average_has_changed() -> None:
    a, x = torch.ones(3), torch.ones(3, requires_grad=True)
    y = (a * x).sum()
    before = a._version
    ema_update([a], [torch.zeros(3)], 0.5)
    assert a._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_packed_weights_follow() -> None:
    conv = genfuse.nn.Conv2d(16, 16, 3, padding=1)
    x = torch.randn(2, 16, 8, 8)
    other = torch.randn_like(conv.weight)
    with torch.no_grad():
        conv(x)
        ema_update([conv.weight], [other], 0.3)
        got = conv(x)
        want = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_nothing_to_do() -> None:
    ema_update([], [], 0.5)
    ema_update([torch.empty(0, 3)], [torch.empty(0, 3)], 0.5)


def test_it_is_a_registered_op_and_compiles() -> None:
    averages, parameters = [torch.randn(3), torch.randn(4, 2).t()], [torch.randn(3), torch.randn(2, 4)]
    torch.library.opcheck(torch.ops.genfuse.ema_update.default, (averages, parameters, 0.9))

    def step(a: Tensor, p: Tensor) -> Tensor:
        ema_update([a], [p], 0.5)
        return 2 * a

    a = torch.zeros(3)
    assert torch.compile(step, backend="aot_eager", fullgraph=True)(a, torch.ones(3)).tolist() == [1, 1, 1]
    assert a.tolist() == [0.5] * 3


def test_lists_go_straight_to_the_kernel_and_the_long_way_gives_the_same_bits(monkeypatch) -> None:
    went: list[object] = []
    original = tensor_list.directly

    def directly(*arguments: object) -> object:
        went.append(original(*arguments))  # type: ignore[arg-type]
        return went[-1]

    monkeypatch.setattr(tensor_list, "directly", directly)
    rng = np.random.default_rng(5)
    averages = [list_cases.values(rng, shape, torch.float32) for shape in list_cases.SHAPES]
    parameters = [list_cases.values(rng, shape, torch.bfloat16) for shape in list_cases.SHAPES]
    averages[6] = averages[6].to(memory_format=torch.channels_last)
    parameters[6] = parameters[6].to(memory_format=torch.channels_last)
    results = []
    for exchange in (tensor_list._EXCHANGE, None):
        monkeypatch.setattr(tensor_list, "_EXCHANGE", exchange)
        copies = [average.clone() for average in averages]
        versions = [copy._version for copy in copies]
        ema_update(copies, parameters, 0.9)
        clip_weights(copies, 1.0)
        norm = clip_grad_norm(copies, 1.0, are_gradients=True)
        assert all(copy._version > version for copy, version in zip(copies, versions, strict=True))
        results.append([norm, *copies])
    assert went[3:] == [None] * 3 and (tensor_list._EXCHANGE is None or went[0] is True)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.skipif(
    tensor_list._EXCHANGE is None, reason="this PyTorch has no C interface to read tensors through"
)
@pytest.mark.parametrize("backend", ["aten", "reference"])
def test_a_forced_backend_is_not_passed_by(backend: str) -> None:
    a, p = [torch.zeros(3)], [torch.ones(3)]
    with genfuse.backend(backend):  # type: ignore[arg-type]
        assert tensor_list.directly("ema_update", (a, p), 0.5) is None
    assert a[0].tolist() == [0.0] * 3
    assert tensor_list.directly("ema_update", (a, p), 0.5) is True
    for unusual in (torch.ones(6)[::2], torch.ones(4), torch.ones(3).to_sparse(), torch.ones(3).int(), a[0]):
        assert tensor_list.directly("ema_update", (a, [unusual]), 0.5) in (None, False)
    assert a[0].tolist() == [0.5] * 3
