"""genfuse: a kernel engine for generative image models.

Importing defines names and nothing else: no compilation, no change of the environment, no global switched.
"""

from __future__ import annotations

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
from genfuse.samplers import Sampler, graph, sample
from genfuse.tracing import trace

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "GenfuseError",
    "KernelError",
    "Sampler",
    "UnsupportedError",
    "__version__",
    "augment",
    "backend",
    "empty_cache",
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
    "set_cache_limit",
    "trace",
    "unregister",
]
