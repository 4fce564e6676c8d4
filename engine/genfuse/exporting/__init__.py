"""Networks as files that the C library runs without Python and without PyTorch."""

from __future__ import annotations

from genfuse.exporting.network import Network, load_network
from genfuse.exporting.network_file import export

__all__ = ["Network", "export", "load_network"]
