"""Modules for image models."""

from __future__ import annotations

from genfuse.nn.adain_layer import AdaINLayer
from genfuse.nn.attention import SelfAttention
from genfuse.nn.blur import BlurDownsample, BlurUpsample
from genfuse.nn.conv2d import Conv2d
from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.cyclegan import CycleGANBlock, CycleGANGenerator
from genfuse.nn.dcgan import DCGANCritic, DCGANGenerator
from genfuse.nn.embedding import ConditionEmbedding
from genfuse.nn.equalized import EqualizedConv2d, EqualizedLinear
from genfuse.nn.linear import Linear
from genfuse.nn.mapping_network import MappingNetwork
from genfuse.nn.minibatch_std_dev import MinibatchStdDev
from genfuse.nn.mlp import MLP
from genfuse.nn.modulated_conv2d import ModulatedConv2d
from genfuse.nn.norm_act import NormAct
from genfuse.nn.patch_critic import PatchCritic
from genfuse.nn.pix2pix import Pix2PixGenerator
from genfuse.nn.pixel_norm import PixelNorm
from genfuse.nn.res_block import ResBlock
from genfuse.nn.resnet_critic_block import ResNetCriticBlock
from genfuse.nn.resnet_gan import ResNetCritic, ResNetGenerator
from genfuse.nn.resnet_generator_block import ResNetGeneratorBlock
from genfuse.nn.spectral_norm import spectral_norm, spectral_norms
from genfuse.nn.style_block import StyleBlock, StyleLayer
from genfuse.nn.to_rgb import ToRGB
from genfuse.nn.transformer_gan import TransformerBlock, TransformerCritic, TransformerGenerator
from genfuse.nn.unet import UNet, UNetConfig

__all__ = [
    "MLP",
    "AdaINLayer",
    "BlurDownsample",
    "BlurUpsample",
    "ConditionEmbedding",
    "Conv2d",
    "ConvNormAct",
    "CycleGANBlock",
    "CycleGANGenerator",
    "DCGANCritic",
    "DCGANGenerator",
    "EqualizedConv2d",
    "EqualizedLinear",
    "Linear",
    "MappingNetwork",
    "MinibatchStdDev",
    "ModulatedConv2d",
    "NormAct",
    "PatchCritic",
    "Pix2PixGenerator",
    "PixelNorm",
    "ResBlock",
    "ResNetCritic",
    "ResNetCriticBlock",
    "ResNetGenerator",
    "ResNetGeneratorBlock",
    "SelfAttention",
    "StyleBlock",
    "StyleLayer",
    "ToRGB",
    "TransformerBlock",
    "TransformerCritic",
    "TransformerGenerator",
    "UNet",
    "UNetConfig",
    "spectral_norm",
    "spectral_norms",
]
