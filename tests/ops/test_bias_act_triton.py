"""`bias_act` in Triton: triton_proof/interpreted/test_bias_act.py."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_cases_under_the_interpreter() -> None:
    run_interpreted("test_bias_act.py")
