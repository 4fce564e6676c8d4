"""stylegan3's `bias_act`: its signature, names and defaults."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from genfuse.compat.stylegan import bias_act as compat

PLAIN = {
    "linear": lambda x: x,
    "relu": F.relu,
    "lrelu": lambda x: F.leaky_relu(x, 0.2),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "swish": lambda x: torch.sigmoid(x) * x,
}


def test_signature() -> None:
    parameters = inspect.signature(compat.bias_act).parameters.values()
    assert [(p.name, p.default) for p in parameters][1:] == [
        ("b", None), ("dim", 1), ("act", "linear"), ("alpha", None), ("gain", None), ("clamp", None), ("impl", "cuda"),
    ]  # fmt: skip
    assert set(compat.activation_funcs) == set(PLAIN)


@pytest.mark.parametrize("act", PLAIN)
@pytest.mark.parametrize("impl", ["cuda", "ref"])
def test_activations(act: str, impl: str) -> None:
    x, b = torch.randn(3, 4, 5), torch.randn(5)
    gain = 2**0.5 if act in ("relu", "lrelu", "swish") else 1
    want = PLAIN[act](x + b) * gain
    torch.testing.assert_close(compat.bias_act(x, b, dim=2, act=act, impl=impl), want)
    assert compat.activation_funcs[act].def_gain == gain
    torch.testing.assert_close(compat.activation_funcs[act].func(x), PLAIN[act](x))
    given = compat.bias_act(x, None, 1, act, 0.1, 3.0, 0.5, impl)
    plain = F.leaky_relu(x, 0.1) if act == "lrelu" else PLAIN[act](x)
    torch.testing.assert_close(given, (plain * 3).clamp(-0.5, 0.5))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="act is 'leaky', expected one of"):
        compat.bias_act(torch.ones(2, 3), act="leaky")
    with pytest.raises(ValueError, match="impl is 'slow'"):
        compat.bias_act(torch.ones(2, 3), impl="slow")
