"""What cards have recorded is kept by call: until what it is given, its code, or what records it changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genfuse_bench import recorded
from genfuse_bench.call import Call, ones
from genfuse_bench.card_cuda_calls import cuda_calls
from genfuse_bench.moved import Moved
from genfuse_bench.recorded import fingerprint, kept
from genfuse_bench.steps import ROOT

pytest.importorskip("triton")

from genfuse_bench.card_calls import all_calls

DTYPE = torch.float16


def op_of(call: Call) -> str:
    return next(recorded._modules(call.function)).split(".")[1]


def one_of_each(calls: Iterator[Call]) -> list[Call]:
    """Of each op the first."""
    return list({op_of(call): call for call in reversed(list(calls))}.values())


def forget() -> None:
    for cached in (recorded._closure, recorded._compiled, recorded._by_op):
        cached.cache_clear()


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A copy of the sources that may be changed."""
    for folder in (
        "kernels",
        "engine/genfuse/lab",
        "tests/triton_proof",
        "tests/cuda_proof",
        "bench/genfuse_bench",
    ):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    monkeypatch.setattr(recorded, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def test_where_one_file_changes_the_calls_that_run_it_are_recorded_anew(checkout: Path) -> None:
    calls = one_of_each(all_calls(DTYPE))
    keys = [fingerprint("triton", call) for call in calls]

    def anew(path: str) -> set[str]:
        """The ops of the calls that have another fingerprint where a file changes."""
        before = keys.copy()
        with (checkout / path).open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        forget()
        keys[:] = [fingerprint("triton", call) for call in calls]
        return {op_of(call) for call, one, two in zip(calls, before, keys, strict=True) if one != two}

    kernels = "kernels/genfuse_kernels"
    assert anew(f"{kernels}/upfirdn2d/triton_impl.py") == {"upfirdn2d"}
    lists = {"clip_grad_norm", "clip_weights", "ema_update", "spectral_norm"}
    assert anew(f"{kernels}/common/tensor_table.py") == lists
    assert anew(f"{kernels}/norm_act/triton_impl.py") == {"conv_norm_act", "norm_act"}
    assert anew(f"{kernels}/conv_norm_act/triton_conv.py") == {"conv_norm_act", "linear"}
    assert anew(f"{kernels}/conv_norm_act/cuda_plan.py") == set()
    assert anew("engine/genfuse/lab/interpreter.py") == set(map(op_of, calls))


def test_of_cuda_the_sources_of_the_ops_count(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = one_of_each(cuda_calls(DTYPE))
    before = [fingerprint("cuda", call) for call in calls]
    source_of = recorded.source_of
    monkeypatch.setattr(
        recorded, "source_of", lambda kernel: source_of(kernel) + "!" * (kernel.op == "sampler_step")
    )
    forget()
    after = [fingerprint("cuda", call) for call in calls]
    forget()
    assert {op_of(call) for call, a, b in zip(calls, before, after, strict=True) if a != b} == {
        "sampler_step"
    }


def launch(*tensors: torch.Tensor, factor: float = 1.0) -> None:
    """Stands for a launcher."""


def test_what_a_call_is_given_counts() -> None:
    x = ones(4, 8)
    call = Call("case", launch, (x, x), {"factor": 2.0})
    others = [
        replace(call, case="another"),
        replace(call, options={"factor": 3.0}),
        replace(call, arguments=(x, x.clone())),
        replace(call, arguments=(2 * x, 2 * x)),
        replace(call, arguments=(x.t(), x.t())),
        replace(call, arguments=(x.half(), x.half())),
    ]
    assert len({fingerprint("triton", each) for each in (call, *others)}) == 7
    assert fingerprint("triton", replace(call, arguments=(y := ones(4, 8), y))) == fingerprint("triton", call)


def test_a_call_is_recorded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those behind it that change, and are given what it changed, are the same the next time."""
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    ran: list[str] = []

    def record(call: Call) -> Iterator[Moved]:
        ran.append(call.case)
        call.arguments[0].add_(1)
        yield Moved("kernel", call.case, "float32", 1, 2, 3, 4, 5, 6, 7)

    for _ in range(2):
        out = ones(8)
        calls = [Call(case, launch, (out,)) for case in ("one", "two")]
        rows = list(kept("triton", calls, "float32", record))
        assert [row.case for row in rows] == ["one", "two"] and rows[1].touched == 3
    assert ran == ["one", "two"]
