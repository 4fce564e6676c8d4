"""What pipelines call by name beside the steps themselves, as diffusers' own classes have it."""

from __future__ import annotations

import pytest
import torch

from schedulers.peer import each, ours, peers, start

pytestmark = pytest.mark.filterwarnings("ignore:lower_order_final is False")


@each
def test_index_for_timestep_is_the_peers(name: str) -> None:
    theirs, mine = peers(name), ours(name)
    for scheduler in (theirs, mine):
        scheduler.set_timesteps(7)
    if not hasattr(theirs, "index_for_timestep"):
        pytest.skip("diffusers' class has none")
    for own, peer in zip(mine.timesteps, theirs.timesteps, strict=True):
        assert mine.index_for_timestep(own) == theirs.index_for_timestep(peer)
    few = mine.timesteps[2:]
    assert mine.index_for_timestep(few[1], few) == theirs.index_for_timestep(few[1], few)
    with pytest.raises(ValueError, match="timestep is -3, expected one of"):
        mine.index_for_timestep(-3)


@pytest.mark.parametrize("name", ["DDPMScheduler", "LCMScheduler", "TCDScheduler"])
def test_previous_timestep_is_the_peers(name: str) -> None:
    theirs, mine = peers(name), ours(name)
    assert mine.previous_timestep(700) == theirs.previous_timestep(700) == 699
    for scheduler in (theirs, mine):
        scheduler.set_timesteps(7)
    for timestep in theirs.timesteps:
        assert int(mine.previous_timestep(timestep)) == int(theirs.previous_timestep(timestep))


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_preconditioning_is_the_peers(name: str, prediction: str) -> None:
    theirs, mine = peers(name, prediction_type=prediction), ours(name, prediction_type=prediction)
    x, output = start(), start().flip(3)
    for sigma in (1.7, torch.tensor(1.7, dtype=torch.float64)):
        expected = theirs.precondition_inputs(x, sigma), theirs.precondition_outputs(x, output, sigma)
        got = mine.precondition_inputs(x, sigma), mine.precondition_outputs(x, output, sigma)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(mine.precondition_noise(sigma), theirs.precondition_noise(sigma))


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_flow_shifts_are_the_peers(name: str, kind: str) -> None:
    config = {"time_shift_type": kind, "shift_terminal": 0.1}
    theirs, mine = peers(name, **config), ours(name, **config)
    levels = torch.linspace(1, 0.01, 9, dtype=torch.float64)
    torch.testing.assert_close(mine.time_shift(0.7, 1.3, levels), theirs.time_shift(0.7, 1.3, levels))
    torch.testing.assert_close(
        mine.stretch_shift_to_terminal(levels), theirs.stretch_shift_to_terminal(levels)
    )


@each
def test_knows_whether_the_input_was_scaled(name: str) -> None:
    theirs, mine = peers(name), ours(name)
    if not hasattr(theirs, "is_scale_input_called"):
        pytest.skip("diffusers' class does not say")
    for scheduler in (theirs, mine):
        scheduler.set_timesteps(4)
        assert scheduler.is_scale_input_called is False
        scheduler.scale_model_input(start(), scheduler.timesteps[0])
        assert scheduler.is_scale_input_called is True
