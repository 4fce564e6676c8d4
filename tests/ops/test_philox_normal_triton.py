"""`philox_normal` and `philox_lerp` in Triton: triton_proof/interpreted."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_cases_under_the_interpreter() -> None:
    run_interpreted("test_philox_normal.py", "test_philox_lerp.py")
