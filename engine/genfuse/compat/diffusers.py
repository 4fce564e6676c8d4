"""genfuse's schedulers, optimised U-Net and decoder in a pipeline of diffusers, put in and taken out by a line."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from torch import nn

from genfuse.errors import UnsupportedError
from genfuse.names import unknown_name
from genfuse.rewrite import optimize

NETWORKS = ("unet", "vae.decoder", "vqvae.decoder")
"""Where pipelines keep what runs at every step, and what makes pictures of latents."""


@dataclass(frozen=True)
class _Swap:
    """One part of a pipeline: who holds it, under which name, what was there and what is there now."""

    holder: Any
    name: str
    original: Any
    replacement: Any


class Patch:
    """What `patch` did to a pipeline; as a context manager it takes it out again at the end.

    replaced  names of the parts that are genfuse's now, as "scheduler", "unet", "vae.decoder"
    left      names of the parts that are as they were, each with the reason
    """

    def __init__(self, pipe: Any, swaps: dict[str, _Swap], left: dict[str, str]) -> None:
        self._pipe = weakref.ref(pipe)
        self._swaps = swaps
        self.replaced = tuple(swaps)
        self.left = left

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pipe = self._pipe()
        if _patches.get(pipe) is self:  # not where `unpatch` was called inside
            unpatch(pipe)

    def __repr__(self) -> str:
        left = "".join(f"\n  left {name}: {why}" for name, why in self.left.items())
        return f"genfuse in {', '.join(self.replaced) or 'nothing'}{left}"


_patches: weakref.WeakKeyDictionary[Any, Patch] = weakref.WeakKeyDictionary()


def patch(
    pipe: Any,
    *,
    scheduler: bool = True,
    networks: bool = True,
    accuracy: Literal["fast", "exact"] | None = None,
    reproducible: bool = True,
    memory_limit: int | None = None,
) -> Patch:
    """Put genfuse's kernels into a pipeline of diffusers, in place, until `unpatch(pipe)`.

    pipe       a DiffusionPipeline: its scheduler becomes genfuse's of the same name and configuration, its `unet` and
               the `decoder` of its `vae` or `vqvae` become `genfuse.optimize`'s, which share the weights
    scheduler  False: leave the scheduler
    networks   False: leave the networks
    accuracy, reproducible, memory_limit
               what `genfuse.optimize` takes, for each network

    The first picture of a size makes the plans, which takes seconds; the next ones run them. Pictures are those of
    before to rounding. Returns a `Patch`, which says what was replaced and what was left and why, and which is a
    context manager: `with genfuse.diffusers.patch(pipe): ...`.

    TypeError for what is no pipeline or has no such part, ValueError where it is patched already, UnsupportedError for
    a scheduler that genfuse has none of the same name for (`scheduler=False` leaves it), ValueError and TypeError of
    options that `optimize` and the scheduler refuse: all before anything of the pipeline is changed.
    """
    if not hasattr(pipe, "components") or not hasattr(pipe, "scheduler"):
        raise TypeError(f"pipe is {type(pipe).__name__}, expected a pipeline of diffusers with a scheduler")
    if pipe in _patches:
        raise ValueError("pipe is patched already; genfuse.diffusers.unpatch(pipe) comes first")
    swaps: dict[str, _Swap] = {}
    left: dict[str, str] = {}
    if scheduler:
        ours = _scheduler(pipe.scheduler)
        if ours is pipe.scheduler:
            left["scheduler"] = "it is genfuse's already"
        else:
            swaps["scheduler"] = _Swap(pipe, "scheduler", pipe.scheduler, ours)
    else:
        left["scheduler"] = "scheduler is False"
    for path, holder, name, network in _networks(pipe):
        if not networks:
            left[path] = "networks is False"
        elif name is None:
            left[path] = "it is no U-Net and no decoder; genfuse.optimize(module) takes any module"
        else:
            fast = optimize(network, accuracy=accuracy, reproducible=reproducible, memory_limit=memory_limit)
            swaps[path] = _Swap(holder, name, network, fast)
    patched = Patch(pipe, swaps, left)
    for swap in swaps.values():
        setattr(swap.holder, swap.name, swap.replacement)
    _patches[pipe] = patched
    return patched


def unpatch(pipe: Any) -> None:
    """Put a pipeline's own scheduler and networks back, the very objects; what was set since then in their place stays.

    ValueError where the pipeline is not patched.
    """
    try:
        patched = _patches.pop(pipe)
    except (KeyError, TypeError):
        raise ValueError(
            f"pipe, a {type(pipe).__name__}, is not patched by genfuse.diffusers.patch"
        ) from None
    for swap in patched._swaps.values():
        if getattr(swap.holder, swap.name) is swap.replacement:
            setattr(swap.holder, swap.name, swap.original)


def _scheduler(theirs: Any) -> Any:
    """genfuse's scheduler of the same class name and configuration; itself where it is genfuse's."""
    from genfuse import schedulers  # here: where diffusers is installed, it imports that

    cls = type(theirs)
    if cls.__module__ == schedulers.__name__:
        return theirs
    if cls.__name__ not in schedulers.__all__ or cls.__module__.split(".")[0] != "diffusers":
        what = unknown_name("pipe.scheduler", cls.__name__, schedulers.__all__)
        raise UnsupportedError(f"{what} of diffusers; scheduler=False leaves it as it is")
    return getattr(schedulers, cls.__name__).from_config(theirs.config)


def _networks(pipe: Any) -> list[tuple[str, Any, str | None, nn.Module]]:
    """The pipeline's modules: path, and for what is optimised its holder and name there."""
    found: list[tuple[str, Any, str | None, nn.Module]] = []
    for component, module in pipe.components.items():
        if not isinstance(module, nn.Module):
            continue
        paths = [path for path in NETWORKS if path.split(".")[0] == component]
        for path in paths:
            holder = pipe if path == component else module
            name = path.split(".")[-1]
            inner = getattr(holder, name, None)
            if isinstance(inner, nn.Module):
                found.append((path, holder, name, inner))
        if not paths:
            found.append((component, pipe, None, module))
    return found
