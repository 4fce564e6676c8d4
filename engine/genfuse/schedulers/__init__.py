"""Schedulers with diffusers' interface, one fused kernel a step; diffusers itself is not needed."""

from genfuse.schedulers.ddim import DDIMInverseScheduler, DDIMScheduler
from genfuse.schedulers.ddpm import DDPMScheduler
from genfuse.schedulers.euler import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from genfuse.schedulers.heun import HeunDiscreteScheduler
from genfuse.schedulers.kdpm2 import KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler
from genfuse.schedulers.lms import LMSDiscreteScheduler
from genfuse.schedulers.pndm import PNDMScheduler

__all__ = [
    "DDIMInverseScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
]
