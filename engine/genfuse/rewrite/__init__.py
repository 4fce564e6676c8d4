"""`genfuse.optimize`: the user's own model, with fused units in place of its convolutions."""

from __future__ import annotations

from genfuse.rewrite.backend import Backend, genfuse_backend
from genfuse.rewrite.model import optimize
from genfuse.rewrite.report import Report

__all__ = ["Backend", "Report", "genfuse_backend", "optimize"]
