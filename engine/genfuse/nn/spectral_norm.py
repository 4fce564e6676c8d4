"""Spectral norm: each layer's weight over its largest singular value (Miyato et al. 2018).

`spectral_norm` stands in for PyTorch's parametrisation, with the same state; `spectral_norms` puts a whole network's
power iterations into one call of a kernel.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from genfuse import ops
from genfuse.ops import check

_LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

_INITIAL_STEPS = 15
"""As PyTorch's, so that a seed gives the vectors that it gives there."""

_Module = TypeVar("_Module", bound=nn.Module)


class SpectralNorm(nn.Module):
    """The parametrisation of one weight; buffers `_u` and `_v` are its vectors, of norm 1.

    Each use of the weight in training is a step of the power iteration, as in PyTorch's.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        check.count("n_power_iterations", n_power_iterations)
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"dim is {dim}, expected an axis of a weight with {weight.ndim}")
        self.dim, self.n_power_iterations, self.eps = dim % weight.ndim, n_power_iterations, eps
        self._ready: Tensor | None = None
        """What `spectral_norms` has made for the forward that runs."""
        if weight.ndim > 1:
            rows = weight.shape[self.dim]
            for name, size in (("_u", rows), ("_v", weight.numel() // rows)):
                drawn = weight.detach().new_empty(size).normal_(0, 1)
                self.register_buffer(name, F.normalize(drawn, dim=0, eps=eps))
            self._normalised(weight.detach(), _INITIAL_STEPS)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its norm."""
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        ready, self._ready = self._ready, None
        return self._normalised(weight, self.steps) if ready is None else ready

    def right_inverse(self, value: Tensor) -> Tensor:
        """What is set in the weight's place is the weight."""
        return value

    @property
    def steps(self) -> int:
        """Of the next use."""
        return self.n_power_iterations if self.training else 0

    def _normalised(self, weight: Tensor, steps: int) -> Tensor:
        if weight.is_meta:  # a shape alone
            return weight
        (made,), _ = ops.spectral_norm(
            [weight], [self._u], [self._v], dims=[self.dim], steps=steps, eps=self.eps
        )
        return made


def spectral_norm(
    module: _Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> _Module:
    """Parametrises `module.name` in place, and returns the module.

    In the place of `torch.nn.utils.parametrizations.spectral_norm`: arguments, names in the state dict and the state
    after the same steps are its own. dim is 1 for transposed convolutions and 0 for others where left out. ValueError
    where the module has no such tensor.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"{name} is {type(weight).__name__} in {type(module).__name__}, expected a tensor")
    if dim is None:
        dim = 1 if isinstance(module, _TRANSPOSED) else 0
    parametrize.register_parametrization(module, name, SpectralNorm(weight, n_power_iterations, dim, eps))
    return module


def spectral_norms(network: _Module, *, n_power_iterations: int = 1, eps: float = 1e-12) -> _Module:
    """Spectral norm for all convolutions, linear layers and embeddings of a network, in place; returns the network.

    Layers that have it, PyTorch's or `spectral_norm`'s, keep their state and their own numbers of steps. A forward of
    `network` begins with one call for all weights, each of which is a step further then, as PyTorch's are when they are
    used; of a layer that a forward leaves out, the vectors go on all the same, and each further use in one forward is a
    step of its own. A weight that has another parametrisation gets spectral norm behind it, in a call of its own.

    ValueError, before anything is changed, for a layer whose weight is no parameter, as with PyTorch's older
    `torch.nn.utils.spectral_norm` and `weight_norm`, or is not initialised yet.
    """
    layers = {
        name: module for name, module in network.named_modules() if isinstance(module, _LAYERS + _TRANSPOSED)
    }
    for name, module in layers.items():
        _check_weight(name, module)
    for module in layers.values():
        of_weight = _of_weight(module)
        if not any(isinstance(each, SpectralNorm) or _is_pytorchs(each) for each in of_weight):
            spectral_norm(module, n_power_iterations=n_power_iterations, eps=eps)
            continue
        for place, each in enumerate(of_weight):
            if _is_pytorchs(each):
                of_weight[place] = _adopted(each, module)
    found = [each for each in network.modules() if isinstance(each, parametrize.ParametrizationList)]
    network.__dict__["_spectral_norms"] = [each for each in found if isinstance(each[0], SpectralNorm)]
    if not any(hook is _begin for hook in network._forward_pre_hooks.values()):
        network.register_forward_pre_hook(_begin)
        network.register_forward_hook(_end, always_call=True)
    return network


def _of_weight(module: nn.Module) -> Any:
    """The parametrisations of a layer's weight, a list of modules."""
    if not parametrize.is_parametrized(module, "weight"):
        return ()
    lists: Any = module.parametrizations
    return lists.weight


def _check_weight(name: str, module: nn.Module) -> None:
    weight, of = (
        module._parameters.get("weight"),
        f"weight of {name or 'the network'} ({type(module).__name__})",
    )
    if weight is not None and is_lazy(weight):
        raise ValueError(f"{of} has no sizes yet, expected a network that has run once")
    if weight is None and not _of_weight(module):
        raise ValueError(
            f"{of} is no parameter, expected one: remove torch.nn.utils.spectral_norm or weight_norm first, by "
            "remove_spectral_norm or remove_weight_norm"
        )


def _is_pytorchs(parametrization: nn.Module) -> bool:
    of = type(parametrization)
    return of.__module__ == nn.utils.parametrizations.__name__ and of.__name__ == "_SpectralNorm"


def _adopted(theirs: Any, module: nn.Module) -> SpectralNorm:
    """The same state, without a step."""
    ours = SpectralNorm.__new__(SpectralNorm)
    nn.Module.__init__(ours)
    ours.dim, ours.eps, ours._ready = theirs.dim, theirs.eps, None
    ours.n_power_iterations = getattr(theirs, "n_power_iterations", 1)  # of a vector it has none
    for name, buffer in theirs.named_buffers():
        ours.register_buffer(name, buffer)
    return ours.train(theirs.training)


def _begin(network: Any, _: Any) -> None:
    """Before a forward: all weights, in one call."""
    together: dict[tuple[int, float], list[tuple[Any, Tensor]]] = defaultdict(list)
    for each in network._spectral_norms:
        norm, weight = each[0], each.original
        if weight.ndim > 1 and norm._ready is None:
            together[norm.steps, norm.eps].append((norm, weight))
    for (steps, eps), layers in together.items():
        norms, weights = zip(*layers, strict=True)
        made, _ = ops.spectral_norm(
            weights,
            [norm._u for norm in norms],
            [norm._v for norm in norms],
            dims=[norm.dim for norm in norms],
            steps=steps,
            eps=eps,
        )
        for norm, weight in zip(norms, made, strict=True):
            norm._ready = weight


def _end(network: Any, *_: Any) -> None:
    """After it, or its failure: what was not used."""
    for each in network._spectral_norms:
        each[0]._ready = None
