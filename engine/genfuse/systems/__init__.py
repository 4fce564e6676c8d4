"""The field's systems: network, loss and one training step of each in one file that reads beside its paper."""

from __future__ import annotations

from genfuse.systems.registry import NAMES, SYSTEMS, get, load

__all__ = ["NAMES", "SYSTEMS", "get", "load"]
