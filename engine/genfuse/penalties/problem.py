"""A penalty on the gradient of a network's output, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.ops import check
from genfuse.penalties.places import say_where
from genfuse_kernels.conv_norm_act.settings import Accuracy


class Problem(NamedTuple):
    """weight · cost(n), n_i = ‖∇ Σ seed·network(point)‖ of sample i."""

    name: str
    """of the network, as the user calls it"""
    network: Callable[..., Any]
    point: Tensor
    """(N, ...), with a graph behind it where its gradient is wanted"""
    arguments: Mapping[str, Any]
    """of the network beside the point"""
    seed: Callable[[Tensor], Tensor]
    """of the output, like it"""
    cost: Callable[[Tensor], Tensor]
    """(N,) to (), differentiable"""
    weight: float
    accuracy: Accuracy | None = None
    """of convolutions"""

    def output(self, point: Tensor) -> Tensor:
        """What the network gives there. TypeError or ValueError where that is no batch that can be differentiated.

        The network's own errors pass, with a note that says where they arose.
        """
        try:
            output: Tensor = self.network(point, **self.arguments)
        except UnsupportedError:
            raise  # names the module itself
        except Exception as error:
            say_where(error, self.network, self.name, point, self.arguments)
            raise
        named, batch = f"what {self.name} returned", point.shape[0]
        check.dense(named, output, f"({batch}, ...)")
        if not output.dtype.is_floating_point:
            raise TypeError(f"{named} has dtype {output.dtype}, expected a floating one")
        if output.ndim < 1 or output.shape[0] != batch:
            raise ValueError(
                f"{named} has shape {tuple(output.shape)}, expected ({batch}, ...): a score, or several, a sample"
            )
        if not output.requires_grad:
            raise ValueError(
                f"{named} has no gradient, expected scores that depend on the input (no detach, no torch.no_grad)"
            )
        return output
