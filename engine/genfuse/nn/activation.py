"""An activation by itself."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.names import check_name
from genfuse.ops.bias_act import bias_act
from genfuse_kernels.bias_act.spec import ACTIVATIONS
from genfuse_kernels.bias_act.spec import Activation as Kind


class Activation(nn.Module):
    """On our kernels, whose bits depend on neither PyTorch's version nor its threads. It has no parameters.

    Args:
        kind: a name that :func:`genfuse.ops.bias_act` has; ValueError for another.
        negative_slope: of ``"leaky_relu"``.
    """

    def __init__(self, kind: Kind, negative_slope: float = 0.2) -> None:
        super().__init__()
        check_name("kind", kind, ACTIVATIONS)
        self.kind, self.negative_slope = kind, negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Like x (N, ...)."""
        return bias_act(x, activation=self.kind, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        """As :class:`torch.nn.Module` prints it."""
        return self.kind
