"""The predicted x0 beside each step: its own step's, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from schedulers.peer import ours, start


@pytest.mark.parametrize("name", ["DDIMScheduler", "TCDScheduler", "EulerDiscreteScheduler"])
def test_the_predicted_x0_is_that_of_its_own_step(name: str) -> None:
    """Asked for late, after another trajectory has drawn its seeds."""
    options = {"DDIMScheduler": {"eta": 0.5}, "TCDScheduler": {"eta": 0.5}}.get(name, {"s_churn": 5.0})

    def step(scheduler: Any) -> Any:
        torch.manual_seed(3)
        scheduler.set_timesteps(5)
        return scheduler.step(x.tanh(), scheduler.timesteps[0], x, **options)

    x = start() * 10
    early, late = ours(name), ours(name)
    expected = step(early)[1]
    output = step(late)
    late.step(x.tanh(), late.timesteps[0], x, **options)
    assert torch.equal(output[1], expected)


@pytest.mark.parametrize("changed", ["sample", "model_output", "noise"])
def test_the_predicted_x0_of_what_was_overwritten_is_refused(changed: str) -> None:
    scheduler, x = ours("DDIMScheduler"), start()
    scheduler.set_timesteps(5)
    tensors = {"sample": x.clone(), "model_output": x.tanh(), "noise": x.sin()}
    output = scheduler.step(
        tensors["model_output"], 800, tensors["sample"], eta=0.5, variance_noise=tensors["noise"]
    )
    asked = scheduler.step(
        tensors["model_output"], 800, tensors["sample"], eta=0.5, variance_noise=tensors["noise"]
    )
    original = asked.pred_original_sample
    tensors[changed].mul_(0)
    with pytest.raises(RuntimeError, match=f"reads {changed}, which was changed in place since the step"):
        output.pred_original_sample  # noqa: B018
    assert asked.pred_original_sample is original
    assert output.prev_sample.isfinite().all()


def test_in_inference_mode_the_predicted_x0_is_computed_at_once() -> None:
    """Tensors made there do not count their changes, so a late answer could be a wrong one."""
    scheduler = ours("DDIMScheduler")
    scheduler.set_timesteps(5)
    x = start()
    expected = scheduler.step(x.tanh(), 800, x).pred_original_sample
    with torch.inference_mode():
        x = start()
        output = scheduler.step(x.tanh(), 800, x)
        x.zero_()
        assert torch.equal(output.pred_original_sample, expected)
