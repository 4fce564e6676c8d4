"""The gradients of norms in CUDA: emulated on the host, cuda_proof/emulated/test_norm_gradient.py."""

from __future__ import annotations

from cuda_proof.build import needs_compiler
from cuda_proof.process import run_emulated


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_norm_gradient.py")
