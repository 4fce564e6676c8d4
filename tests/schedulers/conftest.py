"""Trajectories of tiny tensors: a second thread only waits for the first."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread(settled: None) -> None:
    torch.set_num_threads(1)
