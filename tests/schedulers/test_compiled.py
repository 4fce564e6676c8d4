"""A loop over a scheduler in one graph of torch.compile, once its table is built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from schedulers.peer import ours, start

NAMES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverSinglestepScheduler",
)


def loop(scheduler: Any, model: nn.Module, timesteps: Any, x: Tensor) -> Tensor:
    for timestep in timesteps:
        x = scheduler.step(model(scheduler.scale_model_input(x, timestep)), timestep, x).prev_sample
    return x


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "tensors"])
@torch.no_grad()
def test_the_loop_compiles_without_a_graph_break(name: str, numbers: bool) -> None:
    scheduler, model, x = ours(name), nn.Conv2d(3, 3, 3, padding=1), start().float()

    def begin() -> Any:
        torch.manual_seed(0)
        scheduler.set_timesteps(4)
        scheduler.set_begin_index(0)
        return scheduler.timesteps.tolist() if numbers else scheduler.timesteps

    expected = loop(scheduler, model, begin(), x)
    torch._dynamo.reset()
    compiled = torch.compile(loop, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(scheduler, model, begin(), x), expected)


def test_a_tensor_without_a_begin_is_refused_with_what_to_do() -> None:
    scheduler, x = ours("DDIMScheduler"), start()
    scheduler.set_timesteps(3)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="call set_begin_index first"):
        torch.compile(loop, fullgraph=True, backend="aot_eager")(
            scheduler, nn.Identity(), scheduler.timesteps, x
        )


def test_a_loop_without_an_eager_step_is_refused_with_what_to_do() -> None:
    scheduler, x = ours("DDIMScheduler"), start()
    scheduler.set_timesteps(3)
    scheduler.set_begin_index(0)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="take one step outside the graph first"):
        torch.compile(loop, fullgraph=True, backend="aot_eager")(
            scheduler, nn.Identity(), scheduler.timesteps, x
        )


@pytest.mark.filterwarnings("ignore:lower_order_final")
def test_tables_are_kept_where_set_timesteps_completes_the_configuration() -> None:
    """`lower_order_final` is set there: the tables built afterwards are of what it was set to."""
    scheduler, x = ours("DPMSolverSinglestepScheduler"), start()
    runs = []
    for _ in range(2):
        scheduler.set_timesteps(5)
        scheduler.step(x, scheduler.timesteps[0], x)
        runs.append(scheduler._run)
    assert runs[0] is runs[1]


def test_tables_are_kept_as_long_as_nodes_and_configuration() -> None:
    scheduler, x = ours("DPMSolverMultistepScheduler"), start()

    def run(steps: int) -> Any:
        scheduler.set_timesteps(steps)
        scheduler.step(x, scheduler.timesteps[0], x)
        return scheduler._run

    first = run(5)
    assert run(5) is first
    assert run(6) is not first
    again = run(5)
    scheduler.register_to_config(solver_order=1)
    assert run(5) is not again and len(run(5).stepper.table) == 5
