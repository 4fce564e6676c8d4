"""genfuse's ops: each checks its arguments, picks a backend and calls its kernel."""

from genfuse.ops.attention import attention
from genfuse.ops.conv_norm_act import conv_norm_act
from genfuse.ops.linear import linear
from genfuse.ops.norm_act import norm_act
from genfuse.ops.norm_stats import norm_stats
from genfuse.ops.philox_normal import philox_normal
from genfuse.ops.sampler_reduce import sampler_reduce
from genfuse.ops.sampler_step import sampler_step, sampler_step_
from genfuse.ops.timestep_embedding import timestep_embedding

__all__ = [
    "attention",
    "conv_norm_act",
    "linear",
    "norm_act",
    "norm_stats",
    "philox_normal",
    "sampler_reduce",
    "sampler_step",
    "sampler_step_",
    "timestep_embedding",
]
