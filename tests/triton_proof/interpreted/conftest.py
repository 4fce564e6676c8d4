"""Every case here runs on the corrected and instrumented interpreter."""

from __future__ import annotations

import pytest
import torch

import genfuse.lab.interpreter  # noqa: F401
from triton_proof.seeds import keep_a_sample

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    keep_a_sample(config, items)
