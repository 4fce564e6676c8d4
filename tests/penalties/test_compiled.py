"""Under torch.compile, in several processes, in checkpoints: the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import genfuse

SHAPE = (4, 3, 8, 8)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def critic() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.SiLU(), nn.Conv2d(6, 6, 3, 1, 1), nn.GroupNorm(2, 6), nn.ReLU(),
        nn.Flatten(), nn.Linear(96, 1),
    )  # fmt: skip


def results(network: Callable[[Tensor], Tensor], weights: list[nn.Parameter]) -> list[Tensor]:
    real, fake = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).chunk(2)
    penalty = genfuse.gradient_penalty(network, real, fake, kind="wgan-gp", seed=3)
    assert isinstance(penalty, Tensor)
    return [
        penalty.detach(),
        *torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True),
    ]


def same(got: list[Tensor]) -> None:
    plain = critic()
    for a, b in zip(got, results(plain, list(plain.parameters())), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_compiled_critic_runs_as_it_is_written() -> None:
    network = critic()
    compiled = torch.compile(network, backend="aot_eager")
    compiled(torch.randn(SHAPE))
    same(results(compiled, list(network.parameters())))


def test_a_critic_with_a_compiled_part() -> None:
    network = critic()
    part = nn.Sequential(torch.compile(network[:3], backend="aot_eager"), network[3:])  # type: ignore[arg-type]
    same(results(part, list(network.parameters())))


def test_inside_torch_compile() -> None:
    """A step that is compiled around the penalty."""
    network = critic()
    step = torch.compile(lambda: results(network, list(network.parameters())), backend="eager")
    same(step())


def test_nothing_of_a_penalty_is_compiled() -> None:
    """The graph breaks around the call, in two: what checks and draws is not traced piece by piece."""
    network = critic()
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    mean = torch.zeros(())

    def step(x: Tensor) -> Tensor:
        real = x.cos()
        penalty = genfuse.gradient_penalty(network, real, x, kind="wgan-gp", seed=3)
        w = torch.sin(x.flatten(1))
        lengths = genfuse.path_length_penalty(lambda w: w.reshape(SHAPE) ** 3, w, mean)
        assert isinstance(penalty, Tensor) and isinstance(lengths, Tensor)
        return torch.tan(penalty) + lengths.exp()

    torch.compile(step, backend=keep)(torch.randn(SHAPE))
    calls = [node for graph in graphs for node in graph.graph.nodes if node.op.startswith("call")]
    assert {getattr(node.target, "__name__", node.target) for node in calls} <= {
        "cos", "sin", "flatten", "tan", "exp", "add",
    }  # fmt: skip


def test_an_optimised_critic() -> None:
    network = critic()
    optimised = genfuse.optimize(network)
    optimised(torch.randn(SHAPE))
    same(results(optimised, list(network.parameters())))


def test_a_checkpointed_critic() -> None:
    network = critic()

    def run(x: Tensor) -> Tensor:
        y: Tensor = network[3:](checkpoint(network[:3], x, use_reentrant=False))
        return y

    same(results(run, list(network.parameters())))


def _train(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{directory}/meeting", timedelta(seconds=60), 2, rank)
    network = critic()
    parallel = nn.parallel.DistributedDataParallel(network)
    real = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).chunk(2)[rank]
    loss = parallel(real).mean() + genfuse.gradient_penalty(parallel, real, kind="r1")
    loss.backward()
    torch.save([w.grad for w in network.parameters()], f"{directory}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    """DistributedDataParallel averages the gradients of both halves of a batch."""
    torch.multiprocessing.spawn(_train, (str(tmp_path),), 2)  # type: ignore[no-untyped-call]
    network = critic()
    real = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    (network(real).mean() + genfuse.gradient_penalty(network, real, kind="r1")).backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for a, w in zip(found, network.parameters(), strict=True):
            assert w.grad is not None and torch.allclose(a, w.grad, rtol=1e-5, atol=1e-6)
