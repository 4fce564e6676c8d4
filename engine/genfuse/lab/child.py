"""Cases in a process of their own: under AddressSanitizer and UndefinedBehaviourSanitizer, or Triton's interpreter.

    python -m genfuse.lab.child FILE OP COUNT FIRST

prints a line of JSON a case. What ends the process is found in what it said before, by the user's own line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

from genfuse.errors import KernelError
from genfuse.lab import compiler, loader
from genfuse.lab.check import Outcome, check
from genfuse.lab.kernel_file import Source, read

_SECONDS = 600


def outcomes(source: Source, count: int, first: int = 0) -> list[Outcome]:
    """What `check.check` gives, under what finds more; a fault is the last one's problem. KernelError as `load`."""
    if source.language == "cpp":
        compiler.library(source, sanitized=True)  # its errors are the user's, not the process's
    command = [sys.executable, "-m", "genfuse.lab.child", str(source.path), source.op, str(count), str(first)]
    environment = os.environ | _environment(source)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    found = [Outcome(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0:
        return found
    if "KernelError:" in done.stderr:
        raise KernelError(done.stderr.split("KernelError:", 1)[1].strip())
    name = f"case {first + len(found)}"
    return [*found, Outcome(name, float("inf"), problem=_fault(source, done.stderr))]


def _environment(source: Source) -> dict[str, str]:
    if source.language == "triton":
        return {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    order = {} if source.language == "cpp" else {"GENFUSE_LAB_EMULATED": "shuffled"}
    return order | {
        "LD_PRELOAD": f"{compiler.runtime('libasan.so')} {compiler.runtime('libstdc++.so')}",
        "OMP_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python and PyTorch leave memory behind on purpose
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _fault(source: Source, said: str) -> str:
    """What a sanitizer found, and the user's line."""
    found = re.search(r"(ERROR: AddressSanitizer: .*|runtime error: .*)", said)
    what = found[1] if found else (said.strip().splitlines() or ["the process ended without a word"])[-1]
    line = re.search(rf"{re.escape(str(source.path))}:(\d+)", said)
    return f"{source.path}:{line[1] if line else source.line}: {what}"


def main(arguments: list[str]) -> None:
    """In the child."""
    import torch

    torch.set_num_threads(1)
    file, op, count, first = arguments
    source = read(file, op)
    for outcome in _checked(source, int(count), int(first)):
        print(json.dumps(asdict(outcome)), flush=True)


def _checked(source: Source, count: int, first: int) -> Iterator[Outcome]:
    if source.language == "cpp":
        return check(source, count, first, launch=loader.load(source, sanitized=True))
    if source.language == "triton":
        from genfuse.lab import interpreter  # noqa: F401  # corrects and instruments it
    return check(source, count, first)


if __name__ == "__main__":
    main(sys.argv[1:])
