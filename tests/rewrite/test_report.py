"""What `report()` says is text, wherever it is printed."""

from __future__ import annotations

import builtins

import pytest
import torch
from torch import nn

import genfuse


class ZMQInteractiveShell:
    """By this name of its shell's class rich knows a notebook."""


def test_in_a_notebook_it_is_the_text_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = genfuse.optimize(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()))
    with torch.no_grad():
        fast(torch.randn(1, 3, 8, 8))
    told = str(fast.report())
    assert "one kernel does" in told
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel does
    assert str(fast.report()) == told
