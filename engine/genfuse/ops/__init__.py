"""genfuse's ops: each checks its arguments, picks a backend and calls its kernel."""

from genfuse.ops.conv_norm_act import conv_norm_act
from genfuse.ops.norm_act import norm_act
from genfuse.ops.philox_normal import philox_normal
from genfuse.ops.sampler_reduce import sampler_reduce
from genfuse.ops.sampler_step import sampler_step, sampler_step_

__all__ = ["conv_norm_act", "norm_act", "philox_normal", "sampler_reduce", "sampler_step", "sampler_step_"]
