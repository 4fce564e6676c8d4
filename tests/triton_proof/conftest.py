"""The interpreter and the compiler cannot share a process: each process collects its own half."""

from __future__ import annotations

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore = ["test_compiled.py"] if INTERPRETED else ["interpreted"]
