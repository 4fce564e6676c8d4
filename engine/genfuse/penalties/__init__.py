"""Gradient penalties: each by one pass of tangents, without a second-order graph."""

from genfuse.penalties.path_length import path_length_penalty
from genfuse.penalties.penalty import gradient_penalty

__all__ = ["gradient_penalty", "path_length_penalty"]
