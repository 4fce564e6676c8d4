"""Diffusion samplers: noise schedules, solvers as tables, and the loop that runs them."""

from genfuse.samplers.churn import Churn
from genfuse.samplers.continuous_batch import ContinuousBatch
from genfuse.samplers.cuda_graph import SampleGraph, graph
from genfuse.samplers.edm import EDM
from genfuse.samplers.loop import sample
from genfuse.samplers.registry import names
from genfuse.samplers.sampler import Sampler
from genfuse.samplers.schedule import NoiseSchedule, noise_schedule
from genfuse.samplers.table import Clip

__all__ = [
    "EDM",
    "Churn",
    "Clip",
    "ContinuousBatch",
    "NoiseSchedule",
    "SampleGraph",
    "Sampler",
    "graph",
    "names",
    "noise_schedule",
    "sample",
]
