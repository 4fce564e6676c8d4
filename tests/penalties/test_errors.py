"""What bad input gets: what was wrong, what was expected, and where."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.errors import UnsupportedError
from penalties.critics import scores
from penalties.test_state import Cubed

SHAPE = (4, 3, 8, 8)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), *scores(4, 4))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"critic": None}, TypeError, r"critic is NoneType, expected a callable critic\(x, \*\*cond\)"),
        (
            {"critic": nn.Linear},
            TypeError,
            r"critic is the class Linear, expected one made of it: Linear\(...\)",
        ),
        ({"first": -1}, ValueError, r"first is -1, expected 0 or more"),
        (
            {"first": 2**32 - 3},
            ValueError,
            r"first is 4294967293, expected at most 4294967292: 4 samples have numbers",
        ),
        ({"kind": "wgan"}, ValueError, r"kind is 'wgan', expected one of .*did you mean 'wgan-lp'\?"),
        ({"kind": "r3"}, ValueError, r"kind is 'r3', expected one of 'wgan-gp'"),
        ({"weight": -1.0}, ValueError, r"weight is -1.0, expected 0 or more"),
        ({"weight": float("nan")}, ValueError, r"weight is nan, expected a finite number"),
        ({"weight": "10"}, TypeError, r"weight is '10', expected a number"),
        ({"seed": -1}, ValueError, r"seed is -1, expected an int in \[0, 2\*\*63\)"),
        ({"seed": 0.5}, TypeError, r"seed is 0.5, expected a whole number"),
        ({"return_norms": 1}, TypeError, r"return_norms is 1, expected True or False"),
        ({"accuracy": "high"}, ValueError, r"accuracy is 'high', expected one of 'exact', 'fast'"),
        ({"fallback": "jvp"}, ValueError, r"fallback is 'jvp', expected one of 'autograd'"),
        ({"real": None}, ValueError, r"real is None, expected a batch \(N, ...\): kind 'wgan-gp' needs it"),
        ({"fake": None}, ValueError, r"fake is None, expected a batch \(N, ...\): kind 'wgan-gp' needs it"),
        (
            {"fake": None, "kind": "r2"},
            ValueError,
            r"fake is None, expected a batch \(N, ...\): kind 'r2' needs it",
        ),
        ({"real": [1.0]}, TypeError, r"real is list, expected a tensor \(N, ...\)"),
        (
            {"real": torch.zeros(SHAPE, dtype=torch.uint8)},
            TypeError,
            r"real has dtype torch.uint8, expected float32",
        ),
        ({"real": torch.zeros(())}, ValueError, r"real has shape \(\), expected \(N, ...\)"),
        (
            {"real": torch.zeros(0, 3, 8, 8)},
            ValueError,
            r"real has shape \(0, 3, 8, 8\), expected at least one sample",
        ),
        (
            {"fake": torch.zeros(3, 3, 8, 8)},
            ValueError,
            r"fake has shape \(3, 3, 8, 8\), expected \(4, 3, 8, 8\) as real",
        ),
        (
            {"fake": torch.zeros(SHAPE).double()},
            TypeError,
            r"fake has dtype torch.float64, expected torch.float32 as real",
        ),
        ({"real": torch.zeros(SHAPE, device="meta")}, TypeError, r"real is on meta, which holds no values"),
    ],
)
def test_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    """Before the critic runs."""

    def unasked(x: Tensor) -> Tensor:
        raise AssertionError("the critic ran")

    given: dict[str, Any] = {
        "critic": unasked,
        "real": torch.randn(SHAPE),
        "fake": torch.randn(SHAPE),
        "kind": "wgan-gp",
        **changed,
    }
    with pytest.raises(error, match=message):
        genfuse.gradient_penalty(given.pop("critic"), given.pop("real"), given.pop("fake"), **given)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["real", "fake"])
def test_samples_that_are_not_finite(name: str, value: float) -> None:
    given = {"real": torch.randn(SHAPE), "fake": torch.randn(SHAPE)}
    given[name][2, 1, 3, 3] = value
    with pytest.raises(ValueError, match=f"{name} is not finite in sample 2, expected numbers"):
        genfuse.gradient_penalty(network(), **given, kind="wgan-gp")


@pytest.mark.parametrize(
    ("critic", "error", "message"),
    [
        (lambda x: (x, x), TypeError, r"what critic returned is tuple, expected a tensor \(4, ...\)"),
        (lambda x: x.sum(), ValueError, r"what critic returned has shape \(\), expected \(4, ...\): a score"),
        (
            lambda x: x.sum((0, 2, 3)),
            ValueError,
            r"what critic returned has shape \(3,\), expected \(4, ...\)",
        ),
        (
            lambda x: (x > 0).sum((1, 2, 3)),
            TypeError,
            r"what critic returned has dtype torch.int64, expected a floating",
        ),
        (
            lambda x: x.detach().sum((1, 2, 3)),
            ValueError,
            r"what critic returned has no gradient, expected scores",
        ),
        (
            lambda x: torch.ones(4, requires_grad=True) * 2,
            ValueError,
            r"what critic returned does not depend on its input",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*reduces over the first axis")
def test_what_the_critic_returns(
    critic: Callable[[Tensor], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        genfuse.gradient_penalty(critic, torch.randn(SHAPE), kind="r1")


def test_numbers_that_the_critic_makes_infinite_are_passed_on() -> None:
    weight = torch.tensor(1e30, requires_grad=True)
    penalty = genfuse.gradient_penalty(
        lambda x: (x * weight * weight).sum((1, 2, 3)), torch.randn(SHAPE), kind="r1"
    )
    assert isinstance(penalty, Tensor) and not penalty.isfinite()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
@pytest.mark.parametrize("fallback", [None, "autograd"])
@pytest.mark.parametrize(
    ("real", "cond", "note"),
    [
        (
            torch.zeros(4, 1, 8, 8),
            {},
            r"raised in critic.0 \(Conv2d\), by critic\(an input \(4, 1, 8, 8\) of torch.float32\)$",
        ),
        (torch.zeros(4, 3, 9, 9), {}, r"raised in critic.3 \(Linear\)"),
        (
            torch.zeros(SHAPE).double(),
            {},
            r"critic.0 .* of torch.float64\), where weights are torch.float32: one dtype is expected, or",
        ),
        (torch.zeros(SHAPE), {"lamda": 3}, r"raised in critic \(Sequential\), by critic\(.*, lamda\)$"),
    ],
)
def test_the_critic_s_own_errors_say_where(
    real: Tensor, cond: dict[str, Any], note: str, fallback: Any
) -> None:
    with pytest.raises((RuntimeError, TypeError)) as raised:
        genfuse.gradient_penalty(network(), real, kind="r1", fallback=fallback, **cond)
    (found,) = raised.value.__notes__
    assert re.search(note, found)


def test_a_function_s_own_errors_name_its_modules() -> None:
    inner = nn.Linear(3, 1)
    with pytest.raises(RuntimeError) as raised:
        genfuse.gradient_penalty(lambda x: inner(x.flatten(1)), torch.zeros(SHAPE), kind="r1")
    if sys.version_info >= (3, 11):
        assert raised.value.__notes__[0].startswith("raised in Linear in the critic, by critic(an input")


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=1)[0]


class Emptied(nn.Module):
    """Writes what depends on the input to a tensor of its own."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[:, 0] = x[:, 1]
        return y


class Edited(nn.Module):
    def __init__(self, edit: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.edit = edit

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.5
        self.edit(y)
        return y * 2


class ReadLater(nn.Module):
    """Whose tangent reads what is edited before."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.5
        largest, _ = y.max(dim=1, keepdim=True)
        y += 1
        return largest + y


class Grouped(nn.Module):
    """Attention whose heads of queries share those of keys."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True)


class IntoWeight(nn.Module):
    """Adds to what was made of a weight, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.weight * 2).expand(x.shape).clone()
        y += x
        return y


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Sorted(), r"critic\.inner\.1 \(Sorted\) calls torch\.Tensor\.sort, which has no tangent rule"),
        (
            Cubed(),
            r"critic\.inner\.1 \(Cubed\) reads what CubeBackward made of the input, which has no tangent rule",
        ),
        (Emptied(), r"critic\.inner\.1 \(Emptied\) calls torch\.Tensor\.__setitem__"),
        (
            Edited(lambda y: y[:, 0].mul_(2)),
            r"critic\.inner\.1 \(Edited\) reads what was edited in place, as or through a view",
        ),
        (
            Edited(lambda y: y.__setitem__(0, 1.0)),
            r"critic\.inner\.1 \(Edited\) calls torch\.Tensor\.__setitem__",
        ),
        (Edited(lambda y: y.floor_()), r"critic\.inner\.1 \(Edited\) calls torch\.Tensor\.floor_"),
        (
            Edited(torch.no_grad()(lambda y: y.mul_(2))),
            r"critic\.inner\.1 \(Edited\) reads what was edited in place",
        ),
        (
            IntoWeight(),
            r"critic\.inner\.1 \(IntoWeight\) edits a weight in place by what depends on the input",
        ),
        (ReadLater(), r"critic\.inner\.1 \(ReadLater\): what it read was edited in place afterwards"),
        (nn.LeakyReLU(-0.1), r"critic\.inner\.1 \(LeakyReLU\): negative_slope is -0.1, expected 0 or more"),
        (Grouped(), r"critic\.inner\.1 \(Grouped\): enable_gqa is True, expected as many heads of keys"),
        (nn.RReLU(), r"critic\.inner\.1 \(RReLU\) calls torch\.nn\.functional\.rrelu"),
    ],
)
def test_what_has_no_rule(module: nn.Module, message: str) -> None:
    critic = nn.Sequential()
    critic.inner = nn.Sequential(nn.Conv2d(3, 3, 1), module)
    for number, layer in enumerate(scores(3, 8), 2):
        critic.add_module(str(number), layer)
    with pytest.raises(UnsupportedError, match=message):
        genfuse.gradient_penalty(critic, torch.randn(SHAPE), kind="r1")


def test_a_function_s_modules_are_named() -> None:
    critic = nn.Sequential(nn.Conv2d(3, 3, 1), Sorted(), *scores(3, 8))
    with pytest.raises(UnsupportedError, match=r"Sorted in the critic calls torch\.Tensor\.sort"):
        genfuse.gradient_penalty(lambda x: critic(x), torch.randn(SHAPE), kind="r1")


@pytest.mark.parametrize("fallback", [None, "autograd"])
def test_backends(fallback: Any) -> None:
    def run(critic: nn.Module) -> Any:
        return genfuse.gradient_penalty(critic, torch.randn(SHAPE), kind="r1", fallback=fallback)

    with (
        genfuse.backend("reference"),
        pytest.raises(UnsupportedError, match="backend 'reference' is forced, expected 'aten' or one of cpu"),
    ):
        run(network())
    few = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)), *scores(6, 6))
    named = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3, padding="same")), *scores(6, 8))
    for critic, why in ((few, "groups of fewer than 16 channels"), (named, "padding is named")):
        assert run(critic).requires_grad
        with (
            genfuse.backend("cpu"),
            pytest.raises(UnsupportedError, match=rf"critic.0.0 \(Conv2d\): no permitted.*\n?.*{why}"),
        ):
            run(critic)
        with (
            genfuse.backend(strict=True),
            pytest.raises(UnsupportedError, match=rf"{why}[^~]*strict mode forbids PyTorch's own"),
        ):
            run(critic)
    for backend, strict in (("aten", True), ("cpu", False), (None, True)):
        with genfuse.backend(backend, strict=strict):  # type: ignore[arg-type]
            assert run(network()).requires_grad


def test_attention_that_pads_has_no_rule() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def critic(x: Tensor) -> Tensor:
        y: Tensor = attention(x, x, x, key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))[0]
        return y

    with pytest.raises(
        UnsupportedError, match="key_padding_mask of multi-head attention is given, expected none"
    ):
        genfuse.gradient_penalty(critic, torch.randn(2, 5, 4), kind="r1")


def test_what_a_convolution_read_is_edited_afterwards() -> None:
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 3)

    def critic(x: Tensor) -> Tensor:
        h = torch.sin(first(x))
        y = torch.tanh(second(h)).flatten(1).sum(1)
        return y + h.mul_(2).flatten(1).sum(1)

    with pytest.raises(UnsupportedError, match="what a convolution read was edited in place afterwards"):
        genfuse.gradient_penalty(critic, torch.randn(SHAPE), kind="r1")


def test_what_lies_in_memory_otherwise_is_left_to_pytorch() -> None:
    """A view that is negated when it is read, as a weight and as what is activated."""
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 3)
    seen = []
    for negated in (False, True):

        def critic(x: Tensor, negated: bool = negated) -> Tensor:
            weight = torch._neg_view(-first.weight) if negated else first.weight
            return second(torch.relu(torch.conv2d(x, weight))).flatten(1).sum(1)

        torch.manual_seed(2)
        penalty = genfuse.gradient_penalty(critic, torch.randn(SHAPE), kind="r1")
        assert isinstance(penalty, Tensor)
        seen.append([penalty, *torch.autograd.grad(penalty, (first.weight, second.weight))])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*seen, strict=True))
