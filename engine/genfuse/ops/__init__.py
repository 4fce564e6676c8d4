"""genfuse's ops: each checks its arguments, picks a backend and calls its kernel."""

from genfuse.ops.attention import attention
from genfuse.ops.clip_grad_norm import clip_grad_norm
from genfuse.ops.clip_weights import clip_weights
from genfuse.ops.conv_norm_act import conv_norm_act
from genfuse.ops.ema_update import ema_update
from genfuse.ops.linear import linear
from genfuse.ops.norm_act import norm_act
from genfuse.ops.norm_stats import norm_stats
from genfuse.ops.philox_normal import philox_normal
from genfuse.ops.sampler_reduce import sampler_reduce
from genfuse.ops.sampler_step import sampler_step, sampler_step_
from genfuse.ops.timestep_embedding import timestep_embedding
from genfuse.ops.upfirdn2d import upfirdn2d

__all__ = [
    "attention",
    "clip_grad_norm",
    "clip_weights",
    "conv_norm_act",
    "ema_update",
    "linear",
    "norm_act",
    "norm_stats",
    "philox_normal",
    "sampler_reduce",
    "sampler_step",
    "sampler_step_",
    "timestep_embedding",
    "upfirdn2d",
]
