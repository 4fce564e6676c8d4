"""What every test starts from: the backends that were asked for, fixed seeds, PyTorch's settings put back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from genfuse import env

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A checkout in front of an installed wheel hides the extension: what was asked for has to be here."""
    try:
        env.require_backends()
    except RuntimeError as error:
        pytest.exit(str(error), returncode=3)


def pytest_report_header() -> list[str]:
    missing = {name: env.backend_missing(name) for name in ("cpu", "triton", "cuda")}
    return [f"genfuse backend {name}: {why or 'here'}" for name, why in missing.items()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU is shown as not run where its backend is missing; Triton's interpreter is none."""
    for item in items:
        mark = item.get_closest_marker("device")
        if mark is not None:
            (backend,) = mark.args
            missing = env.backend_missing(backend) or (
                None if torch.cuda.is_available() else "there is no GPU"
            )
            if missing is not None:
                item.add_marker(pytest.mark.skip(reason=f"not run here: {missing}"))


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """The same seed and thread count for each test, whatever the one before it did."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def proof() -> bool:
    """Whether every case is to be run (`make proof`), not the sample that fits the suite's time."""
    return os.environ.get("GENFUSE_PROOF", "") not in ("", "0")


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fresh memory comes filled with NaN, so that an output nobody wrote shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=env.instruction_sets())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this machine in turn, for tests of the CPU kernels."""
    from ops.cpu_cases import instruction_set  # not above: it needs the extension

    with instruction_set(request.param):
        yield request.param
