"""Every case here runs on the corrected and instrumented interpreter."""

from __future__ import annotations

import torch

import triton_proof.interpreter  # noqa: F401

torch.set_num_threads(1)
