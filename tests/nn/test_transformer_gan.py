"""The transformer pair: its block against plain PyTorch, the sizes that it makes and takes, and a gradient penalty."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from genfuse.nn import TransformerBlock, TransformerCritic, TransformerGenerator
from genfuse.penalties import gradient_penalty


def test_a_block_is_attention_and_a_perceptron_beside_the_identity() -> None:
    block, x = TransformerBlock(32), torch.randn(2, 32, 3, 5)
    torch.nn.init.normal_(block.attention.proj.weight, std=0.1)
    with torch.no_grad():
        h = F.group_norm(x, 8, block.attention.norm.weight, block.attention.norm.bias)
        parts = F.conv2d(h, block.attention.qkv.weight, block.attention.qkv.bias)
        q, k, v = (part.reshape(2, 2, 16, 15).mT for part in parts.chunk(3, 1))
        seen = F.scaled_dot_product_attention(q, k, v).mT.reshape(2, 32, 3, 5)
        h = x + F.conv2d(seen, block.attention.proj.weight, block.attention.proj.bias)
        tokens = F.layer_norm(h.movedim(1, -1), (32,), block.wide.norm.weight, block.wide.norm.bias)
        wide = F.linear(tokens, block.wide.conv.weight[:, :, 0, 0], block.wide.conv.bias)
        narrow = F.linear(F.gelu(wide), block.narrow.conv.weight[:, :, 0, 0], block.narrow.conv.bias)
        torch.testing.assert_close(block(x), h + narrow.movedim(-1, 1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("doublings", [1, 3])
def test_a_pair_of_each_size(doublings: int) -> None:
    side = 4 << doublings
    generator, critic = TransformerGenerator(5, 8, doublings, 1), TransformerCritic(1, 8, doublings, 2)
    with torch.no_grad():
        pictures = generator(torch.randn(3, 5))
        assert pictures.shape == (3, 1, side, side) and pictures.abs().max() <= 1
        assert critic(pictures).shape == (3, 2)
        moved = pictures.roll(4, 3)  # where a token is, is seen
        assert not torch.allclose(critic(moved), critic(pictures))


def test_a_penalty_on_its_critic_is_double_backwards() -> None:
    critic, images = TransformerCritic(1, 8, 1).double(), torch.randn(3, 1, 8, 8, dtype=torch.float64)
    for block in critic.blocks:
        torch.nn.init.normal_(block.attention.proj.weight, std=0.3)
    weights = list(critic.parameters())
    penalty = gradient_penalty(critic, images, kind="r1", weight=1.0)
    points = images.clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the one that PyTorch differentiates twice
        (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
        expected = slope.square().flatten(1).sum(1).mean() / 2
    torch.testing.assert_close(penalty, expected)
    found, wanted = (
        torch.autograd.grad(each, weights, materialize_grads=True) for each in (penalty, expected)
    )
    for mine, its in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, its)
