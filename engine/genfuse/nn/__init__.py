"""Modules for image models."""

from __future__ import annotations

from genfuse.nn.attention import SelfAttention
from genfuse.nn.conv2d import Conv2d
from genfuse.nn.conv_unit import ConvUnit
from genfuse.nn.embedding import ConditionEmbedding
from genfuse.nn.linear import Linear
from genfuse.nn.unet import UNet, UNetConfig

__all__ = ["ConditionEmbedding", "Conv2d", "ConvUnit", "Linear", "SelfAttention", "UNet", "UNetConfig"]
