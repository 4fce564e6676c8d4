"""`clip_weights` beside `torch.clamp`, bit for bit, on every backend and instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import clip_weights
from genfuse_kernels.clip_weights import aten_impl, cpu_impl, reference, reference_impl
from ops import list_cases
from ops.cpu_cases import DTYPES, threads, untouched_elsewhere


def hold(launch, parameters: list[Tensor], bound: float) -> None:
    for parameter in parameters:
        if parameter.numel() > 4:
            parameter.flatten()[:4].copy_(torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0]))
    before = [parameter.clone() for parameter in parameters]
    launch(parameters, bound)
    for parameter, old in zip(parameters, before, strict=True):
        want = reference.clip_weights(old, bound)
        assert torch.equal(parameter.nan_to_num(9.0), want.nan_to_num(9.0)) and parameter.dtype == old.dtype
        assert untouched_elsewhere(parameter)


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.3, 6e4])
def test_cpu_kernel_is_clamp(isa: str, bound: float) -> None:
    rng = np.random.default_rng(int(bound * 100))
    hold(cpu_impl.clip_weights, list_cases.tensors(rng, DTYPES), bound)
    hold(cpu_impl.clip_weights, list_cases.tensors(rng, DTYPES, extreme=True), bound)


@pytest.mark.parametrize("launch", [aten_impl.clip_weights, reference_impl.clip_weights])
def test_other_backends_are_clamp(launch) -> None:
    hold(launch, list_cases.tensors(np.random.default_rng(1), DTYPES), 0.3)


def test_threads_and_many_tensors(isa: str) -> None:
    given = [torch.randn(n) for n in (0, 1, 100_003, 7, 16384, 16385, 64)]
    for count in (1, 3):
        copies = [tensor.clone() for tensor in given]
        with threads(count):
            clip_weights(copies, 0.5)
        assert all(torch.equal(a, b.clamp(-0.5, 0.5)) for a, b in zip(copies, given, strict=True))


@pytest.mark.parametrize(
    ("parameters", "bound", "error", "message"),
    [
        ([torch.ones(2)], -0.1, ValueError, "bound is -0.1, expected 0 or more"),
        ([torch.ones(2)], torch.inf, ValueError, "bound is inf, expected a finite number"),
        ([torch.ones(2).half()], 1e5, ValueError, "bound is 100000.0, expected at most 65504.0, the largest torch.fl"),
        ([torch.ones(2)], None, TypeError, "bound is None, expected a number"),
        ([torch.ones(2), torch.ones(2, dtype=torch.int32)], 0.1, TypeError, r"parameters\[1\] has dtype torch.int32"),
        ([torch.ones(2).to_sparse()], 0.1, TypeError, r"parameters\[0\] has layout torch.sparse_coo"),
        ([torch.ones(1, 3).expand(2, 3)], 0.1, ValueError, r"parameters\[0\] overlaps itself"),
        ({"w": torch.ones(2)}, 0.1, TypeError, "parameters is dict, expected tensors"),
    ],
)  # fmt: skip
def test_what_is_refused(parameters, bound, error, message) -> None:
    with pytest.raises(error, match=message):
        clip_weights(parameters, bound)


def test_a_tensor_given_twice_is_named() -> None:
    a = torch.ones(4)
    with pytest.raises(
        ValueError, match=r"parameters\[2\] overlaps parameters\[0\] in memory, expected each"
    ):
        clip_weights([a, torch.ones(2), a], 0.5)
    assert a.tolist() == [1.0] * 4


def test_a_critics_weights() -> None:
    """The usual loop: parameters of a module, under no_grad; what is packed of them follows."""
    critic = genfuse.nn.Conv2d(16, 16, 3, padding=1)
    x = torch.randn(2, 16, 8, 8)
    with pytest.raises(genfuse.errors.UnsupportedError, match=r"parameters\[0\] requires one; call it under"):
        clip_weights(critic.parameters(), 0.01)
    with torch.no_grad():
        before, version = critic(x), critic.weight._version
        clip_weights(critic.parameters(), 0.01)
        assert critic.weight._version > version and critic.weight.abs().max() <= 0.01
        got = critic(x)
        want = torch.nn.functional.conv2d(x, critic.weight, critic.bias, padding=1)
    assert not torch.allclose(before, want, atol=1e-2)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_nothing_to_do_and_one_tensor() -> None:
    clip_weights([], 0.1)
    clip_weights(torch.empty(3, 0), 0.1)
    one = torch.ones(3)
    clip_weights(one, 0.25)
    assert one.tolist() == [0.25] * 3


def test_it_is_a_registered_op_and_compiles() -> None:
    torch.library.opcheck(
        torch.ops.genfuse.clip_weights.default, ([torch.randn(3), torch.randn(4, 2).t()], 0.1)
    )

    def step(p: Tensor) -> Tensor:
        clip_weights([p], 0.5)
        return 2 * p

    p = torch.full((3,), 4.0)
    assert torch.compile(step, backend="aot_eager", fullgraph=True)(p).tolist() == [1, 1, 1]
    assert p.tolist() == [0.5] * 3
