"""The interpreter's own corrections and checks, proven in a process of their own."""

from __future__ import annotations

from triton_proof.process import run_interpreted


def test_the_interpreter_is_corrected_and_catches_planted_faults() -> None:
    run_interpreted("test_interpreter.py")


def test_what_kernels_move_is_counted_and_is_no_more_than_before() -> None:
    run_interpreted("test_moved.py")
