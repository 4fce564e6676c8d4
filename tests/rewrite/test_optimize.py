"""`genfuse.optimize`: the same numbers as the model, in every mode, with its convolutions fused."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.env import scratch_peak_bytes
from genfuse.rewrite import Backend
from rewrite.models import CycleGANResidual


def generator() -> nn.Module:
    """DCGAN's (Radford et al. 2016), narrow."""

    def up(channels: int, outputs: int) -> list[nn.Module]:
        return [
            nn.ConvTranspose2d(channels, outputs, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]

    return nn.Sequential(
        nn.ConvTranspose2d(20, 32, 4, 1, 0, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(True),
        *up(32, 16),
        *up(16, 8),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def translator() -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, 16, 7),
        nn.InstanceNorm2d(16),
        nn.ReLU(True),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.InstanceNorm2d(32),
        nn.ReLU(True),
        CycleGANResidual(32),
        CycleGANResidual(32),
        nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1),
        nn.InstanceNorm2d(16),
        nn.ReLU(True),
        nn.ReflectionPad2d(3),
        nn.Conv2d(16, 3, 7),
        nn.Tanh(),
    )


def encoder() -> nn.Module:
    """Halves pictures with a border at the bottom and the right only, as diffusers' AutoencoderKL."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(16, 24, 3, stride=2),
        nn.GroupNorm(4, 24),
        nn.SiLU(),
        nn.ReflectionPad2d((1, 2, 0, 1)),
        nn.Conv2d(24, 8, 3),
    )


class Critic(nn.Module):
    """Blocks that halve the picture: ResNet's (Gulrajani et al. 2017), progressive growing's (Karras et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.shortcut, self.third = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 3, padding=1)
        self.norm = nn.GroupNorm(4, 24)

    def forward(self, x: Tensor) -> Tensor:
        h = F.avg_pool2d(self.second(F.relu(self.first(x))), 2) + self.shortcut(F.avg_pool2d(x, 2))
        h = nn.AvgPool2d(2)(F.leaky_relu(self.third(h), 0.2))
        return F.avg_pool2d(F.silu(self.norm(h)), 2)


class TimeBlock(nn.Module):
    """A diffusion block: shift by an embedding, skip, upsampling, residual with projection, scale."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, 24), nn.GroupNorm(4, 16)
        self.conv1, self.conv2 = nn.Conv2d(24, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.shortcut, self.embed = nn.Conv2d(24, 16, 1), nn.Linear(5, 16)
        self.up, self.out = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        h = torch.cat([x, skip], dim=1)
        y = self.conv1(F.silu(self.norm1(h))) + self.embed(embedding)[:, :, None, None]
        y = self.conv2(F.dropout(F.silu(self.norm2(y)), 0.1, self.training))
        y = (self.shortcut(h) + y) / 2**0.5
        y = self.up(F.interpolate(y, scale_factor=2.0, mode="nearest"))
        result: Tensor = self.out(F.leaky_relu(y, 0.2))
        return result


def block_inputs() -> tuple[Tensor, ...]:
    return torch.randn(2, 16, 10, 12), torch.randn(2, 8, 10, 12), torch.randn(2, 5)


class SequenceBlock(nn.Module):
    """A 1-D U-Net's: everything that a block of pictures has, along one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(12, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=1)
        self.norm1, self.norm2, self.shift = nn.GroupNorm(4, 12), nn.BatchNorm1d(16), nn.Linear(5, 16)
        self.shortcut, self.down = nn.Conv1d(12, 16, 1), nn.Conv1d(16, 24, 4, 2, 1, padding_mode="circular")
        self.up, self.out = nn.ConvTranspose1d(24, 16, 4, 2, 1), nn.Conv1d(16, 3, 5, padding=2)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        h = torch.cat([x, skip], dim=1)
        y = self.first(F.silu(self.norm1(h))) + self.shift(embedding)[:, :, None]
        y = self.second(F.dropout(F.silu(self.norm2(y)), 0.1, self.training)) + self.shortcut(h)
        y = self.up(F.relu(self.down(F.pad(y, (0, 2)))))
        result: Tensor = F.avg_pool1d(self.out(F.interpolate(y, scale_factor=2.0)), 2)
        return result


def sequence_inputs() -> tuple[Tensor, ...]:
    return torch.randn(2, 8, 26), torch.randn(2, 4, 26), torch.randn(2, 5)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]], int]] = {
    "generator": (generator, lambda: (torch.randn(3, 20, 1, 1),), 4),
    "critic": (Critic, lambda: (torch.randn(2, 3, 20, 25),), 4),
    "encoder": (encoder, lambda: (torch.randn(2, 3, 20, 24),), 3),
    "translator": (translator, lambda: (torch.randn(2, 3, 20, 24),), 8),
    "time block": (TimeBlock, block_inputs, 4),
    "sequence block": (SequenceBlock, sequence_inputs, 5),
}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.mark.parametrize("name", CASES)
def test_same_output_in_eval(name: str) -> None:
    make, inputs, units = CASES[name]
    model, example = make().eval(), inputs()
    optimized: Any = genfuse.optimize(model)
    with torch.no_grad():
        want, got = model(*example), optimized(*example)
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    assert got.stride() == want.stride()
    report = optimized.report()
    assert len(report.fused) == units and not report.left and len(report.graphs) == 1
    assert "units fused" in str(report)
    if name == "translator":
        steps = [" ".join(unit.steps) for unit in report.fused]
        assert steps[3] == "instance norm relu reflect padding convolution"
        assert (
            report.graphs[0].norms == 3
        )  # before the residual blocks, which read its result twice, and at their ends
        assert steps[-1] == "instance norm relu reflect padding convolution tanh"


@pytest.mark.parametrize("name", CASES)
def test_same_gradients_and_statistics_in_training(name: str) -> None:
    make, inputs, _ = CASES[name]
    model, example = make().train(), inputs()
    if "block" in name:
        model.eval()  # dropout draws
    twin = copy.deepcopy(model)
    optimized = genfuse.optimize(twin)
    for one in (model, optimized):
        one(*example).square().sum().backward()
    largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    for (key, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None
        # relative to the largest: a bias before an instance norm has none but rounding
        assert torch.allclose(other.grad, parameter.grad, rtol=1e-3, atol=1e-5 * largest), key
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer, other)


def test_it_shares_parameters_and_follows_them() -> None:
    model, (noise,) = generator().eval(), (torch.randn(2, 20, 1, 1),)
    optimized = genfuse.optimize(model, (noise,))
    assert optimized.state_dict().keys() == model.state_dict().keys()
    other = generator().eval()
    with torch.no_grad():
        for parameters in (other.state_dict(), {k: v * 2 for k, v in other.state_dict().items()}):
            optimized.load_state_dict(parameters)
            assert torch.allclose(optimized(noise), model(noise), atol=1e-5)
        next(model.parameters()).data.clamp_(-0.01, 0.01)
        assert torch.allclose(optimized(noise), model(noise), atol=1e-5)


def test_it_follows_train_and_eval() -> None:
    model = generator().eval()
    optimized, noise = genfuse.optimize(model), torch.randn(2, 20, 1, 1)
    with torch.no_grad():
        in_eval = optimized(noise)
        optimized.train()
        in_training = optimized(noise)
        optimized.eval()
    assert not torch.allclose(in_eval, in_training)


def test_units_hand_their_statistics_on() -> None:
    seen: list[Any] = []
    left: list[Any] = []

    class Watched(Backend):
        def __call__(self, module: Any, example_inputs: list[Any]) -> Any:
            forward = super().__call__(module, example_inputs)
            seen.extend(node for node in module.graph.nodes if "stats" in node.kwargs)
            left.extend(
                node for node in module.graph.nodes if node.target in (torch.conv2d, F.group_norm, F.silu)
            )
            return forward

    model = TimeBlock().eval()
    with torch.no_grad():
        torch.compile(model, backend=Watched())(*block_inputs())
    assert not left
    assert len(seen) == 1  # the second norm of the block: the first reads what the user gave


def test_as_a_backend_by_name() -> None:
    model, example = TimeBlock().eval(), block_inputs()
    with torch.no_grad():
        assert torch.allclose(torch.compile(model, backend="genfuse")(*example), model(*example), atol=1e-4)


def test_what_a_unit_must_not_take() -> None:
    """Values that are read elsewhere stay; an in-place activation on one is not moved."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            n = self.norm(x)
            y = self.conv(F.silu(n))
            z = self.conv(F.relu(y, inplace=True))
            return n, y, z + y, (z * 0.5).view(x.shape[0], -1)

    model, x = Reads().eval(), torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        for got, want in zip(genfuse.optimize(model)(x), model(x), strict=True):
            assert torch.allclose(got, want, atol=1e-5)


def test_convolutions_that_stay_are_named() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 16, 3),
        nn.Conv2d(16, 16, 3, groups=2),
    ).eval()
    optimized: Any = genfuse.optimize(model)
    with torch.no_grad():
        x = torch.randn(1, 4, 9, 9)
        assert torch.allclose(optimized(x), model(x), atol=1e-5)
    assert [left.reason.split()[0] for left in optimized.report().left] == ["padding", "groups"]


def test_exact_forbids_winograd() -> None:
    model, x = nn.Conv2d(64, 64, 3, padding=1).eval(), torch.randn(1, 64, 16, 16)
    with torch.no_grad():
        want = F.conv2d(x.double(), model.weight.double(), model.bias.double(), padding=1)  # type: ignore[union-attr]
        errors = {a: (genfuse.optimize(model, accuracy=a)(x) - want).abs().max() for a in ("exact", "fast")}  # type: ignore[arg-type]
    assert errors["exact"] < errors["fast"] < 1e-4


def test_diffusers_unet() -> None:
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    ).eval()
    optimized: Any = genfuse.optimize(model)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
    with torch.no_grad():
        want, got = model(x, t).sample, optimized(x, t).sample
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    report = optimized.report()
    attentions = [
        unit for unit in report.fused if ".to_" in unit.name
    ]  # queries, keys and values; the output
    assert len(report.fused) == 28 and len(attentions) == 8 and len(report.graphs) == 1
    assert {unit.steps for unit in attentions} == {
        ("group norm", "convolution"),
        ("convolution", "residual"),
    }
    projected = [unit for unit in report.fused if any("conv_shortcut" in step for step in unit.steps)]
    assert len(projected) == 5 and not any("shortcut" in unit.name for unit in report.fused)


def test_many_models_of_many_sizes() -> None:
    """Dynamo stops compiling a function after some signatures: no model may use up another's."""
    with torch.no_grad():
        for sizes in (range(4, 14), range(4, 6), range(4, 6)):
            model = nn.Conv2d(3, 8, 3, padding=1).eval()
            optimized: Any = genfuse.optimize(model)
            for size in sizes:
                x = torch.randn(1, 3, size, size)
                assert torch.allclose(optimized(x), model(x), atol=1e-5)
            if "recompile_limit" in inspect.signature(torch.compile).parameters or len(sizes) == 2:
                assert len(optimized.report().fused) == len(sizes)


class Block(nn.Module):
    """A transformer's, over the pixels of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))
        self.up, self.down = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        tokens = self.norm(x.view(n, c, height * width)).transpose(1, 2)
        q, k, v = (layer(tokens).view(n, -1, 2, c // 2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)
        y = F.dropout(self.out(y), 0.1, self.training).transpose(1, 2).reshape(n, c, height, width) + x
        rows = y.flatten(2).transpose(1, 2)
        rows = self.down(F.gelu(self.up(rows))) + rows
        return rows.transpose(1, 2).reshape(x.shape)


def test_linear_layers_and_attention_run_on_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(8), nn.Conv2d(8, 3, 1)).eval()
    optimized = genfuse.optimize(model)
    x = torch.randn(2, 3, 6, 5)
    with torch.no_grad():
        for _ in range(3):
            assert torch.allclose(optimized(x), model(x), atol=1e-5)
    report = optimized.report()
    (graph,) = report.graphs
    assert (graph.linears, graph.attentions) == (2, 1)
    assert [unit.name for unit in graph.fused] == ["0", "1.q, k, v", "1.out", "2"]
    assert "2 linear layers, 1 attention," in str(report) and "plans hold" in str(report)
    weights = list(model.parameters())
    ours = torch.autograd.grad(optimized(x).square().sum(), weights)
    for mine, other in zip(ours, torch.autograd.grad(model(x).square().sum(), weights), strict=True):
        assert torch.allclose(mine, other, atol=1e-3, rtol=1e-4)
    model.train()
    assert optimized(x).shape == (2, 3, 6, 5)


def test_attention_with_a_mask_stays_pytorchs() -> None:
    class Masked(nn.Module):
        def forward(self, q: Tensor, mask: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, q, q, attn_mask=mask) + F.scaled_dot_product_attention(
                q, q, q, is_causal=True
            )

    model = Masked().eval()
    optimized = genfuse.optimize(model)
    q, mask = torch.randn(1, 2, 5, 4), torch.randn(5, 5)
    with torch.no_grad():
        assert torch.allclose(optimized(q, mask), model(q, mask), atol=1e-6)
    assert optimized.report().graphs[0].attentions == 0


def test_two_convolutions_of_one_sum_run_once_each() -> None:
    """The sum of a block and its shortcut, read by an upsampling convolution, is taken by one of them."""

    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 8, 1)
            self.up = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            h = (self.body(x) + self.shortcut(x)) / 1.0
            return self.up(F.interpolate(h, scale_factor=2.0, mode="nearest"))

    model = Up().eval()
    optimized = genfuse.optimize(model)
    x = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        assert torch.allclose(optimized(x), model(x), atol=1e-5)
        (plan,) = optimized.report().plans[0]._plans.values()
    # to channels last; the sum of their biases, the body with its shortcut, the upsampled one; and back
    assert plan.steps == [(0, 5)] and len(plan.program) == 5


def test_few_channels_and_groups_have_kernels_of_their_own() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 16, 3, padding=1, groups=8),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 3, 3, padding=1),
    ).eval()
    optimized: Any = genfuse.optimize(model)
    with torch.no_grad():
        x = torch.randn(2, 3, 9, 7)
        assert torch.allclose(optimized(x), model(x), atol=1e-5)
    kinds = [unit.algorithm for unit in optimized.report().fused]
    assert kinds == ["direct", "depthwise", "depthwise", "winograd", "planar"]


def test_memory_of_weights_is_reported_and_bounded() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Conv2d(64, 64, 3, padding=1),
    ).eval()
    x = torch.randn(1, 8, 16, 16)
    held = {}
    for limit in (None, 500_000, 0):
        optimized = genfuse.optimize(model, memory_limit=limit)
        with torch.no_grad():
            assert torch.allclose(optimized(x), model(x), atol=1e-4)
        report = optimized.report()
        held[limit] = report.weight_bytes
        assert f"packed weights {report.weight_bytes / 2**20:.1f} MiB" in str(report)
        assert f"scratch of this process at most {scratch_peak_bytes() / 2**20:.1f} MiB" in str(report)
        assert scratch_peak_bytes() > 0
        kinds = [unit.algorithm for unit in report.fused]
        assert kinds[0] == "winograd" or limit == 0, "the largest picture is the last to give way"
        assert ("winograd" in kinds[2:]) == (limit is None)
    direct = 4 * 9 * (8 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    assert held[0] == direct and held[None] > 500_000 >= held[500_000] > held[0]
    with pytest.raises(ValueError, match="memory_limit is -1"):
        genfuse.optimize(model, memory_limit=-1)


def test_refresh_and_freeze() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)).eval()
    optimized = genfuse.optimize(model)
    x = torch.randn(1, 64, 6, 6)
    with torch.no_grad():
        before = optimized(x)
        model[0].weight.data[17, 5, 1, 1] += 100.0  # between the cache lines that are watched
        optimized.refresh()
        assert torch.allclose(optimized(x), model(x), atol=1e-3)
        assert not torch.allclose(optimized(x), before, atol=1e-3)
        optimized.freeze()
        kept = optimized(x)
        model[0].weight.mul_(2)
        assert torch.equal(optimized(x), kept)
        optimized.freeze(False)
        assert torch.allclose(optimized(x), model(x), atol=1e-3)
