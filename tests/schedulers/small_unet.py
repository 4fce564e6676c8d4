"""A network for pipelines that need one, small enough for a test."""

from __future__ import annotations

from typing import Any

import diffusers
import torch


def unet() -> Any:
    """diffusers' unconditional U-Net of 3 x 8 x 8 pictures, with weights of chance, the same each time."""
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    ).eval()
