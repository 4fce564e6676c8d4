"""`leaky_relu_tangent`, `norm_direction` and `norm_tangent` in Triton: triton_proof/interpreted/test_tangents.py."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_cases_under_the_interpreter() -> None:
    run_interpreted("test_tangents.py")
