"""Small critics of pictures (N, 3, 8, 8), which between them have every module that penalties support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import genfuse
from genfuse.ops import bias_act

SHAPE = (4, 3, 8, 8)


def perturbed(critic: nn.Module) -> nn.Module:
    """No weight at its start, where some are 0 or 1."""
    with torch.no_grad():
        for weight in critic.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return critic


def scores(channels: int, side: int) -> tuple[nn.Module, nn.Module]:
    return nn.Flatten(), nn.Linear(channels * side * side, 1)


class Residual(nn.Module):
    """x + body(x), in place."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        y += x
        return y


class PixelNorm(nn.Module):
    """Karras et al. 2018, section 4.2."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


class MinibatchStd(nn.Module):
    """Karras et al. 2018, section 3, as StyleGAN2's code has it."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(2, n // 2, 1, c, h, w)
        y = (y - y.mean(dim=0)).square().mean(dim=0)
        y = (y + 1e-8).sqrt().mean(dim=[2, 3, 4]).reshape(-1, 1, 1, 1)
        return torch.cat([x, y.repeat(2, 1, h, w)], dim=1)


class BiasAct(nn.Module):
    """`bias_act` with all that it takes."""

    def __init__(self, channels: int, activation: str, **options: object) -> None:
        super().__init__()
        self.options = {"activation": activation, **options}
        self.bias, self.scale = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.ones(channels))
        self.noise = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        noise = self.noise * torch.arange(x.shape[-1]).to(x).expand(1, 1, *x.shape[2:])
        options: Any = self.options
        return bias_act(x, self.bias, scale=self.scale.expand(x.shape[0], -1), noise=noise, **options)


class SelfAttention(nn.Module):
    """SAGAN's (Zhang et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f, self.g, self.h = (spectral_norm(nn.Conv2d(channels, channels, 1)) for _ in range(3))
        self.gamma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        f, g, h = (conv(x).flatten(2) for conv in (self.f, self.g, self.h))
        weights = F.softmax(torch.bmm(f.permute(0, 2, 1), g), dim=-1)
        return self.gamma * (h @ weights.transpose(1, 2)).view(x.shape) + x


class Heads(nn.Module):
    """Two heads of PyTorch's own attention over the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).mT).view(n, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + y.transpose(2, 3).reshape(n, c, h, w)


class Tokens(nn.Module):
    """PyTorch's module over the pixels, and what it attended to; every pixel sees those up to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(channels, 1, kdim=3, vdim=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).mT
        later = torch.ones(h * w, h * w, dtype=torch.bool).triu(1)
        y, shares = self.attention(tokens, tokens, tokens, attn_mask=later)
        other = tokens.transpose(0, 1)
        z, _ = self.cross(other, other[:5, :, :3], other[:5, :, 1:], need_weights=False)
        return (y + shares @ tokens + z.transpose(0, 1)).mT.reshape(n, c, h, w)


class Projection(nn.Module):
    """A conditional critic (Miyato and Koyama 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(6, 6, 3, 2, 1), nn.SiLU()
        )
        self.embedding, self.score = spectral_norm(nn.Embedding(4, 6)), nn.Linear(6, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.features(x).sum(dim=(2, 3))
        return self.score(h).squeeze(1) + (self.embedding(labels) * h).sum(dim=1)


CRITICS: dict[str, Callable[[], nn.Module]] = {
    "dcgan": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(6, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 2), nn.Flatten(0),
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=2, dilation=2, padding_mode="reflect"), nn.ELU(),
        nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2), nn.Softplus(), *scores(6, 8),
    ),
    "sequences": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 6, 5, stride=2, padding=2, padding_mode="circular"), nn.Tanh(),
        nn.InstanceNorm1d(6), nn.ConvTranspose1d(6, 3, 4, 2, 1), nn.AvgPool1d(4), nn.Flatten(), nn.Linear(48, 1),
    ),
    "volumes": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, 3, 1, 1), nn.SELU(), nn.MaxPool3d((1, 2, 2)),
        nn.ConvTranspose3d(4, 2, 3, 1, 1), nn.GELU("tanh"), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 1),
    ),
    "layer norm": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 4, 2, 1), nn.LayerNorm([6, 4, 4]), nn.LeakyReLU(0.2),
        nn.Conv2d(6, 4, 3, 1, 1), nn.GroupNorm(1, 4), nn.SiLU(), *scores(4, 4),
    ),
    "instance norm": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 4, 2, 1), nn.InstanceNorm2d(6, affine=True), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(6, 4, 3, 1, 1), nn.InstanceNorm2d(4, track_running_stats=True), nn.Mish(), *scores(4, 4),
    ),
    "group norm": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.GELU(), nn.Conv2d(8, 4, 3, 1, 1), PixelNorm(), *scores(4, 4),
    ),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(128, 6), nn.BatchNorm1d(6, affine=False), nn.Tanh(), nn.Linear(6, 1),
    ),
    "batch norm in inference": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(inplace=True), *scores(8, 4)
    ).eval(),
    "spectral norm": lambda: nn.Sequential(
        spectral_norm(nn.Conv2d(3, 8, 3, 2, 1)), nn.LeakyReLU(0.1), weight_norm(nn.Conv2d(8, 4, 3, 1, 1)), nn.ReLU6(),
        nn.Flatten(), spectral_norm(nn.Linear(64, 1)),
    ),
    "minibatch std": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.LeakyReLU(0.2), MinibatchStd(), nn.Conv2d(7, 4, 3, 1, 1), nn.Sigmoid(),
        *scores(4, 4),
    ),
    "pooling and upsampling": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.PReLU(4), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Hardtanh(-0.3, 0.3), nn.MaxPool2d(3, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.LogSigmoid(),
        nn.AdaptiveMaxPool2d(3), nn.PixelUnshuffle(3), *scores(36, 1),
    ),
    "residual": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), Residual(nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, 6, 3, 1, 1)),
        nn.GLU(1), *scores(3, 4),
    ),
    "attention": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1), SelfAttention(4), nn.LeakyReLU(0.2), Heads(4), nn.RMSNorm(4), *scores(4, 4)
    ),
    "multi-head attention": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1), nn.SiLU(), Tokens(4), nn.LeakyReLU(0.2), *scores(4, 4)
    ),
    "dropout": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Dropout2d(0.3), nn.Conv2d(6, 4, 3, 1, 1),
        nn.Dropout(0.4, inplace=True), nn.Tanh(), *scores(4, 4),
    ),
    "genfuse dcgan": lambda: nn.Sequential(nn.Upsample(scale_factor=2), genfuse.nn.DCGANCritic(3, (4, 8))),
    "genfuse units": lambda: nn.Sequential(
        genfuse.nn.ConvNormAct(3, 8, 4, stride=2, padding=1, norm="none", activation="none"),
        *(
            genfuse.nn.ConvNormAct(8, 8, norm=norm, activation=activation, num_groups=4)
            for norm, activation in (
                ("batch", "leaky_relu"), ("instance", "silu"), ("group", "gelu"), ("layer", "tanh"),
                ("layer_pixel", "softplus"), ("rms_pixel", "relu"),
            )
        ),
        genfuse.nn.NormAct(8, norm="group", num_groups=2), *scores(8, 4),
    ),
    "genfuse blocks": lambda: nn.Sequential(
        genfuse.nn.ResNetCriticBlock(3, 8, sees_picture=True), genfuse.nn.ResNetCriticBlock(8, 8),
        genfuse.nn.SelfAttention(8, 2), nn.Flatten(), genfuse.nn.Linear(32, 1),
    ),
    "style critic": lambda: nn.Sequential(
        genfuse.nn.EqualizedConv2d(3, 6, 3, padding=1, lr_multiplier=2.0), BiasAct(6, "leaky_relu", gain=2**0.5),
        genfuse.nn.BlurDownsample(), BiasAct(6, "softplus", clamp=2.0), genfuse.nn.PixelNorm(),
        genfuse.nn.MinibatchStdDev(2, 2), genfuse.nn.BlurUpsample((1, 2, 1)), BiasAct(8, "selu", gain=-0.8, clamp=1.0),
        genfuse.nn.BlurDownsample((1, 1)), nn.Flatten(),
        genfuse.nn.EqualizedLinear(128, 1, lr_multiplier=0.5, bias_init=1.0),
    ),
}  # fmt: skip
