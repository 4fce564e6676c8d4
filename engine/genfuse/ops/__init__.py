"""genfuse's ops: each checks its arguments, picks a backend and calls its kernel."""

from genfuse.ops.attention import attention
from genfuse.ops.bias_act import bias_act
from genfuse.ops.clip_grad_norm import clip_grad_norm
from genfuse.ops.clip_weights import clip_weights
from genfuse.ops.conv2d_resample import conv2d_resample
from genfuse.ops.conv_norm_act import conv_norm_act
from genfuse.ops.ema_update import ema_update
from genfuse.ops.leaky_relu_tangent import leaky_relu_tangent
from genfuse.ops.linear import linear
from genfuse.ops.modulated_conv2d import modulated_conv2d
from genfuse.ops.norm_act import norm_act
from genfuse.ops.norm_direction import norm_direction
from genfuse.ops.norm_stats import norm_stats
from genfuse.ops.norm_tangent import norm_tangent
from genfuse.ops.philox_lerp import philox_lerp
from genfuse.ops.philox_normal import philox_normal
from genfuse.ops.sampler_reduce import sampler_reduce
from genfuse.ops.sampler_step import sampler_step, sampler_step_
from genfuse.ops.spectral_norm import spectral_norm
from genfuse.ops.timestep_embedding import timestep_embedding
from genfuse.ops.upfirdn2d import upfirdn2d

__all__ = [
    "attention",
    "bias_act",
    "clip_grad_norm",
    "clip_weights",
    "conv2d_resample",
    "conv_norm_act",
    "ema_update",
    "leaky_relu_tangent",
    "linear",
    "modulated_conv2d",
    "norm_act",
    "norm_direction",
    "norm_stats",
    "norm_tangent",
    "philox_lerp",
    "philox_normal",
    "sampler_reduce",
    "sampler_step",
    "sampler_step_",
    "spectral_norm",
    "timestep_embedding",
    "upfirdn2d",
]
