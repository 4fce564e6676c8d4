"""What runs on the emulation belongs to processes that `process.py` starts."""

from __future__ import annotations

import os

EMULATED = os.environ.get("GENFUSE_EMULATED_CUDA") == "1"
collect_ignore_glob = ["test_*.py"] if EMULATED else ["emulated"]
