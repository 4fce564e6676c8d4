"""genfuse: a kernel engine for generative image models.

Importing defines names and nothing else: no compilation, no change of the environment, no global switched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genfuse import augment, losses, nn, ops, samplers
from genfuse.dispatch import backend
from genfuse.errors import CheckpointError, GenfuseError, KernelError, UnsupportedError
from genfuse.exporting import export, load_network
from genfuse.lab import register, unregister
from genfuse.ops.explain import explain
from genfuse.ops.memory import empty_cache, set_cache_limit
from genfuse.penalties import gradient_penalty, path_length_penalty
from genfuse.rewrite import optimize
from genfuse.rollback import rollback_on_failure
from genfuse.samplers import ContinuousBatch, Sampler, graph, sample
from genfuse.tracing import trace

if TYPE_CHECKING:
    from genfuse import compat, diffusers, evaluate, schedulers, systems

__version__ = "0.1.0"

_WHEN_ASKED = ("compat", "diffusers", "evaluate", "schedulers", "systems")
"""Modules that are imported at their first use: some bring diffusers along, where it is installed."""

__all__ = [
    "CheckpointError",
    "ContinuousBatch",
    "GenfuseError",
    "KernelError",
    "Sampler",
    "UnsupportedError",
    "__version__",
    "augment",
    "backend",
    "compat",
    "diffusers",
    "empty_cache",
    "evaluate",
    "explain",
    "export",
    "gradient_penalty",
    "graph",
    "load_network",
    "losses",
    "nn",
    "ops",
    "optimize",
    "path_length_penalty",
    "register",
    "rollback_on_failure",
    "sample",
    "samplers",
    "schedulers",
    "set_cache_limit",
    "systems",
    "trace",
    "unregister",
]


def __getattr__(name: str) -> Any:
    if name in _WHEN_ASKED:
        return importlib.import_module(f"genfuse.{name}")
    raise AttributeError(f"module 'genfuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
