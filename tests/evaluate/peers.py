"""The libraries that numbers are compared with, where they load."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest


def torch_fidelity(name: str) -> Any:
    """The module of torch-fidelity; a test is skipped where it, or the torchvision that it imports, does not load."""
    try:
        return import_module(f"torch_fidelity.{name}")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torch-fidelity does not load here: {error}")
