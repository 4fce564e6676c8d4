"""`norm_stats` and `norm_act` in Triton, under the interpreter: triton_proof/interpreted/test_norm_act.py."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_cases_under_the_interpreter() -> None:
    run_interpreted("test_norm_act.py")
