"""A schedule without signal at its end: what can be stepped there, and where its nodes lie."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from schedulers.peer import both, difference, network, ours, peers, start

TRAILING = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
NODES: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {**TRAILING, "clip_sample": False},
    "DDPMScheduler": {**TRAILING, "clip_sample": False},
    "LCMScheduler": {"rescale_betas_zero_snr": True},
    "TCDScheduler": {"rescale_betas_zero_snr": True},
}


@pytest.mark.parametrize("name", NODES)
def test_epsilon_is_stepped_from_the_first_node_with_signal(name: str) -> None:
    """Image-to-image never uses the node where it has no x0."""
    samples = []
    for scheduler in both(name, NODES[name], 4):
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(2)
        generator, x = torch.Generator().manual_seed(0), start()
        for timestep in scheduler.timesteps[2:]:
            x = scheduler.step(network(x, timestep), timestep, x, generator=generator).prev_sample
        samples.append(x)
    assert difference(samples[1][None], samples[0][None].double()) < 1e-5


@pytest.mark.parametrize("name", NODES)
def test_epsilon_is_refused_at_the_node_without_signal(name: str) -> None:
    """... also after a run in the middle, whose table has no row for it."""
    scheduler, x = ours(name, **NODES[name]), start()
    scheduler.set_timesteps(4)
    scheduler.step(x, scheduler.timesteps[1], x)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        scheduler.step(x, scheduler.timesteps[0], x)


def test_v_prediction_goes_back_to_the_node_without_signal() -> None:
    scheduler, x = ours("DDIMScheduler", **NODES["DDIMScheduler"], prediction_type="v_prediction"), start()
    scheduler.set_timesteps(4)
    first = scheduler.step(x.cos(), scheduler.timesteps[0], x).prev_sample
    scheduler.set_timesteps(4)
    scheduler.step(x, scheduler.timesteps[2], x)
    assert torch.equal(scheduler.step(x.cos(), scheduler.timesteps[0], x).prev_sample, first)


@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "EulerDiscreteScheduler"]
)
@pytest.mark.parametrize(
    "kind", ["use_lu_lambdas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
)
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_times_of_sigmas_where_the_last_was_made_finite(name: str, kind: str, beta_schedule: str) -> None:
    """2⁻²⁴ may lie below the level before it: log sigma does not ascend there."""
    if kind == "use_lu_lambdas" and name != "DPMSolverMultistepScheduler":
        pytest.skip("the class has no such entry")
    config = {kind: True, "rescale_betas_zero_snr": True, "beta_schedule": beta_schedule}
    scheduler, peer = ours(name, **config), peers(name, **config)
    for steps in (1, 4, 10, 33):
        scheduler.set_timesteps(steps)
        peer.set_timesteps(steps)
        torch.testing.assert_close(scheduler.timesteps.double(), peer.timesteps.double(), rtol=0, atol=2e-3)
