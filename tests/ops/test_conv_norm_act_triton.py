"""`conv_norm_act` in Triton and its gradients, under the interpreter: triton_proof/interpreted/test_conv_*.py."""

from __future__ import annotations

import pytest

from triton_proof.process import run_interpreted


@pytest.mark.parametrize("file", ["test_conv_norm_act.py", "test_conv_gradient.py"])
def test_cases_under_the_interpreter(file: str) -> None:
    run_interpreted(file)
