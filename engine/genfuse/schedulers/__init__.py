"""Schedulers with diffusers' interface, one fused kernel a step; diffusers itself is not needed."""

from genfuse.schedulers.consistency_models import CMStochasticIterativeScheduler
from genfuse.schedulers.ddim import DDIMInverseScheduler, DDIMScheduler
from genfuse.schedulers.ddpm import DDPMScheduler
from genfuse.schedulers.deis import DEISMultistepScheduler
from genfuse.schedulers.dpm_solver_multistep import (
    DPMSolverMultistepInverseScheduler,
    DPMSolverMultistepScheduler,
)
from genfuse.schedulers.dpm_solver_sde import DPMSolverSDEScheduler
from genfuse.schedulers.dpm_solver_singlestep import DPMSolverSinglestepScheduler
from genfuse.schedulers.edm_dpm_solver import EDMDPMSolverMultistepScheduler
from genfuse.schedulers.edm_euler import EDMEulerScheduler
from genfuse.schedulers.euler import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from genfuse.schedulers.flow_match import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
)
from genfuse.schedulers.heun import HeunDiscreteScheduler
from genfuse.schedulers.ipndm import IPNDMScheduler
from genfuse.schedulers.kdpm2 import KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler
from genfuse.schedulers.lcm import LCMScheduler
from genfuse.schedulers.lms import LMSDiscreteScheduler
from genfuse.schedulers.mixin import SchedulerMixin as SchedulerMixin
from genfuse.schedulers.pndm import PNDMScheduler
from genfuse.schedulers.sa_solver import SASolverScheduler
from genfuse.schedulers.tcd import TCDScheduler
from genfuse.schedulers.unipc import UniPCMultistepScheduler

__all__ = [
    "CMStochasticIterativeScheduler",
    "DDIMInverseScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "HeunDiscreteScheduler",
    "IPNDMScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
]

# A saved diffusers pipeline names its scheduler by module and class, and loads it again where it finds that class
# and the SchedulerMixin that says how: here, in the module that users name too.
for _name in __all__:
    globals()[_name].__module__ = __name__
