"""`optimize`: a model that shares the user's parameters and runs fused units."""

from __future__ import annotations

import copy
import inspect
import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from genfuse.rewrite import traceable
from genfuse.rewrite.backend import Backend
from genfuse.rewrite.names import parameter_names
from genfuse.rewrite.options import Memory, check_options
from genfuse.rewrite.report import Report
from genfuse.rewrite.shortcut import Shortcuts
from genfuse.rollback import rollback_on_failure
from genfuse_kernels.common import packed_weights
from genfuse_kernels.conv_norm_act.settings import Accuracy

_LIMIT: Any = (
    {"recompile_limit": 64} if "recompile_limit" in inspect.signature(torch.compile).parameters else {}
)
"""Signatures that a model may be called with before Dynamo leaves further ones as they are; 8 where it is not asked."""


class _Called:
    """What an optimised class has before its model's: the model's own `__call__` is inside what is compiled."""

    __call__ = nn.Module.__call__

    def __init_subclass__(cls) -> None:
        """Does not tell the model's class, which may keep a register of its subclasses."""


@contextmanager
def _own_errors() -> Iterator[None]:
    """A `ValueError` that a layer raises while Dynamo traces it is raised as it is, not in Dynamo's wrapping."""
    from torch._dynamo.exc import TorchRuntimeError  # here, not on import: it brings Triton along

    outside = sys.exc_info()[1]  # where a caller handles another error
    try:
        yield
    except TorchRuntimeError as error:
        within: BaseException | None = error
        while within is not outside and not isinstance(within, ValueError):
            within = within and (within.__cause__ or within.__context__)
        if within is outside or within is None:
            raise
        raise within from None


def optimize(
    model: nn.Module,
    example: tuple[Any, ...] | None = None,
    *,
    accuracy: Accuracy | None = None,
    reproducible: bool = True,
    memory: Memory | None = None,
    memory_limit: int | None = None,
) -> nn.Module:
    """The model with its convolutions, and the norms, activations and additions around them, as fused units.

    model         any module that torch.compile can trace; it is left as it is and shares its parameters
    example       arguments to make the first plan with, without gradient; otherwise the first call makes it
    accuracy      "fast" admits Winograd, "exact" does not; None, in half precision, that of float32 alone, whose error
                  the results' rounding hides
    reproducible  False: every call in it runs on the kernel that was fastest for it on this processor, PyTorch's own
                  included; the first call measures what is not yet known (`genfuse.backend`)
    memory        "low": in training, of two units in a row one does not keep its input but computes it again in
                  backward, by the same kernel to the same bits, where nothing else would keep it; the report names them
    memory_limit  bytes for the packed weights of a graph's convolutions, which Winograd needs four to nine times as
                  many of: where they exceed it, those of the smallest pictures are packed for direct convolution

    Only the forward is: of a model whose other methods are called, as `AutoencoderKL.decode`, optimise the part that
    they call (`vae.decoder = optimize(vae.decoder)`).

    Returns a module of a subclass that shares all attributes with the model: parameters, buffers, mode, hooks, whatever
    is set on either. Plans are made at the first call of each input signature, mode and gradient state. `copy.deepcopy`
    of it is an optimised copy, what `torch.save` keeps is the model. In inference every result has memory of its own:
    results that in the model are views of each other, or of an argument, are copies here. While there are hooks for all
    modules (`torch.nn.modules.module.register_module_forward_hook`), the model itself runs. A forward that fails leaves
    running statistics, and all buffers of modules in training, as they were. It has three methods more:

    report()    what was fused, what not, and why, and the memory of plans, packed weights and scratch
    refresh()   forget packed weights and plans: for edits through `.data` of a part of a weight (below 1/15 of it),
                which may go unseen
    freeze()    stop looking whether weights were edited, and whether modules, attributes, hooks and global values that
                the forward reads are others than before, which costs milliseconds a call: until `refresh()` or
                `freeze(False)` an edit of any of them may be seen or not, or in part

    TypeError for anything but a module or a `reproducible` that is no bool, ValueError for an unknown accuracy or
    memory or a negative limit.
    """
    from torch import _dynamo as dynamo  # here, not on import: it brings Triton along

    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    model = getattr(type(model), "_original", model)  # of one that is optimised already
    if example is not None and not isinstance(example, (tuple, list)):
        raise TypeError(f"example is {type(example).__name__}, expected a tuple of arguments")
    check_options(accuracy=accuracy, memory=memory, memory_limit=memory_limit, reproducible=reproducible)
    backend = Backend(accuracy, memory, memory_limit, reproducible, parameter_names(model))
    to_backend: Any = weakref.ref(backend)

    def compiling(module: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        to_call: Any = weakref.ref(to_backend()(module, inputs))
        return lambda *args: to_call()(*args)  # which Dynamo keeps for good, as it does this function

    def forward(*args: Any, **kwargs: Any) -> Any:
        return model(
            *args, **kwargs
        )  # from a function of ours: Dynamo does not trace containers' own forward

    def compiled(whole: bool) -> Any:
        # a code object of its own: Dynamo counts what it compiles by code, over all models that share one
        code = forward.__code__.replace(co_name=f"forward_{type(model).__name__}")
        own = FunctionType(code, forward.__globals__, closure=forward.__closure__)
        return torch.compile(own, backend=compiling, dynamic=False, fullgraph=whole, **_LIMIT)

    following = compiled(whole=False)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        # Dynamo has no guards for those of all modules
        if nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
            return model(*args, **kwargs)
        with dynamo.config.patch(skip_nnmodule_hook_guards=False):  # hooks may come after the first call
            return following(*args, **kwargs)

    shortcuts = Shortcuts(model, guarded, compiled(whole=True))

    def whole(call: Callable[..., Any]) -> Any:
        """`call`, which in training moves the running statistics of all norms or of none."""

        def trained(*args: Any, **kwargs: Any) -> Any:
            if not (model.training or torch.is_grad_enabled()):
                return call(*args, **kwargs)
            with _own_errors(), rollback_on_failure(model), traceable.traceable(model):
                return call(*args, **kwargs)

        return staticmethod(trained)

    class Optimized(_Called, type(model)):  # type: ignore[misc]
        """The model's class, called otherwise; an instance is made of the model's own attributes."""

        _compiled_call_impl = whole(guarded)
        _original = model

        def report(self) -> Report:
            backend.report.guards_kept = shortcuts.obstacle
            return backend.report

        def refresh(self) -> None:
            for tensor in (*model.parameters(), *model.buffers()):
                packed_weights.refresh(tensor)
            backend.report.clear()
            shortcuts.clear()

        def freeze(self, frozen: bool = True) -> None:
            backend.frozen = frozen
            for plan in backend.report.plans:
                plan.frozen = frozen
            Optimized._compiled_call_impl = whole(shortcuts if frozen else guarded)

        def __copy__(self) -> nn.Module:
            return again(copy.copy(model))

        def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
            return again(copy.deepcopy(model, memo))

        def __reduce_ex__(self, protocol: Any) -> Any:
            return operator.itemgetter(0), (
                (model,),
            )  # what is saved is the model, and loads without genfuse

    def again(twin: nn.Module) -> nn.Module:
        return optimize(
            twin, accuracy=accuracy, reproducible=reproducible, memory=memory, memory_limit=memory_limit
        )

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Optimized, name, getattr(type(model), name))
    optimized: nn.Module = object.__new__(Optimized)  # GraphModule's own would make another class
    object.__setattr__(optimized, "__dict__", model.__dict__)
    if example is not None:
        with torch.no_grad():
            optimized(*example)
    return optimized
