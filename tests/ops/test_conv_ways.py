"""The ways to compute a convolution that a measurement chooses from: each is right, and cutting changes no bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.cpu_impl import BY_RULE, Way, conv_norm_act, finer, ways
from ops.conv_cases import Case, allowed_error, convolution_of, random_case
from ops.cpu_cases import ISAS, instruction_set


@pytest.fixture(params=ISAS, autouse=True)
def isa(request: pytest.FixtureRequest) -> Any:
    with instruction_set(request.param):
        yield request.param


def run(case: Case, like: Tensor, way: Way) -> Tensor:
    out = torch.full(like.shape, torch.nan, dtype=case.x.dtype)
    conv_norm_act(out, None, case.x, case.weight, case.bias, case.settings, way=way, **case.tensors)
    return out


@pytest.mark.parametrize("seed", range(24))
def test_every_way_is_right(seed: int) -> None:
    rng = np.random.default_rng([41, seed])
    case = random_case(rng, (torch.float32, torch.bfloat16)[seed % 2])
    want = case.double().reference()
    found = ways(torch.empty(0), None, case.x, case.weight, case.bias, case.settings, **case.tensors)
    assert next(iter(found.values())) == BY_RULE
    store = 0.0 if case.x.dtype == torch.float32 else spec.UNIT_ROUNDOFF[case.x.dtype]
    stored = store * want.abs().clamp(min=torch.finfo(case.x.dtype).tiny)
    for name, way in found.items():
        whole = run(case, want, way)
        allowed = allowed_error(case, way.kernel) + stored
        assert ((whole.double() - want).abs() <= allowed).all(), f"{name}; {case.settings}"
        for cut, each in finer(name, way).items():
            assert torch.equal(run(case, want, each), whole), f"{cut}; {case.settings}"


def test_a_way_that_is_not_there_is_refused() -> None:
    rng = np.random.default_rng(5)
    case = random_case(rng, torch.float32)
    with pytest.raises(ValueError, match="way is 9, expected one of"):
        run(case, case.reference(), Way(9))
    with pytest.raises(ValueError, match="rows of a unit are -1"):
        run(case, case.reference(), Way(0, -1))


def test_exact_admits_no_winograd() -> None:
    rng = np.random.default_rng(6)
    case = random_case(rng, torch.float32, ("3x3",))
    for accuracy, has in (("exact", False), ("fast", True)):
        settings = case.settings._replace(accuracy=accuracy)  # type: ignore[arg-type]
        found = ways(torch.empty(0), None, case.x, case.weight, case.bias, settings, **case.tensors)
        assert any(name.startswith("winograd") for name in found) is has
        assert len(found) == convolution_of(replace(case, settings=settings)).ways
