"""A pytest plugin (`-p csrc.built_extension`): the tests use the extension that GENFUSE_CPU_EXTENSION names.

Without it they use the installed one. Under the sanitizers a case takes ten times as long: of each test's cases a fifth
runs, another one every day, and all where GENFUSE_PROOF is set.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

import genfuse_kernels
from triton_proof.seeds import keep_a_sample

_NAME = "genfuse_kernels._cpu"
_spec = importlib.util.spec_from_file_location(_NAME, os.environ["GENFUSE_CPU_EXTENSION"])
if _spec is None or _spec.loader is None:
    raise ImportError(
        f"GENFUSE_CPU_EXTENSION is {os.environ['GENFUSE_CPU_EXTENSION']!r}, expected a built extension"
    )
sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[_NAME])
setattr(genfuse_kernels, "_cpu", sys.modules[_NAME])  # noqa: B010


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    keep_a_sample(config, items, one_in=5)
