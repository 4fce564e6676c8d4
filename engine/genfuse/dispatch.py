"""Which backend runs an op: a fixed rule, a reason for every choice, and ways to force one.

The rule: the first of `ORDER[device type]` that has a kernel for the op and takes the call. `aten` composes
PyTorch's own kernels and is chosen only where no kernel of ours can run; `strict` forbids it. `reference` is
the definition and runs only when asked for by name. With `reproducible=False` the fastest of those that take
the call runs instead, by a measurement: `genfuse.measured`, on GPUs `genfuse.tuned`. A kernel that a user has
registered for the op (`genfuse.register`) goes before all of them, where no backend is forced.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from genfuse import env, measured, registry, tuned
from genfuse.errors import UnsupportedError
from genfuse.names import check_name
from genfuse.triton_failure import explained
from genfuse_kernels.common.device_guard import on_device

Backend = Literal["cpu", "triton", "cuda", "aten", "reference"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

ORDER: dict[str, tuple[Backend, ...]] = {
    "cpu": ("cpu", "aten"),
    "cuda": ("triton", "cuda", "aten"),
}
"""Automatic candidates by device type, best first; any other device has `aten` alone."""

Launcher = Callable[..., None]

Gradient = Callable[..., Any]
"""An op's kernel for backward, which may return what it made."""

OPS: dict[str, tuple[Backend, ...]] = {
    "attention": ("cpu", "triton", "aten", "reference"),
    "bias_act": ("cpu", "triton", "aten", "reference"),
    "clip_grad_norm": ("cpu", "triton", "aten", "reference"),
    "clip_weights": ("cpu", "triton", "aten", "reference"),
    "conv_norm_act": ("cpu", "triton", "cuda", "aten", "reference"),
    "ema_update": ("cpu", "triton", "aten", "reference"),
    "leaky_relu_tangent": ("cpu", "triton", "aten", "reference"),
    "linear": ("cpu", "triton", "aten", "reference"),
    "norm_act": ("cpu", "triton", "cuda", "aten", "reference"),
    "norm_direction": ("cpu", "triton", "aten", "reference"),
    "norm_stats": ("cpu", "triton", "cuda", "aten", "reference"),
    "norm_tangent": ("cpu", "triton", "aten", "reference"),
    "philox_lerp": ("cpu", "triton", "aten", "reference"),
    "philox_normal": ("cpu", "triton", "cuda", "aten", "reference"),
    "sampler_step": ("cpu", "triton", "cuda", "aten", "reference"),
    "sampler_reduce": ("cpu", "triton", "cuda", "aten", "reference"),
    "spectral_norm": ("cpu", "triton", "aten", "reference"),
    "timestep_embedding": ("cpu", "triton", "aten", "reference"),
    "upfirdn2d": ("cpu", "triton", "aten", "reference"),
}
"""The backends that have a kernel, by op."""

_OURS: tuple[Backend, ...] = ("cpu", "triton", "cuda")

FORWARD_ONLY: dict[str, tuple[Backend, ...]] = {
    "attention": ("cpu",),
    "leaky_relu_tangent": _OURS,
    "linear": ("cpu",),
    "norm_direction": _OURS,
    "norm_stats": _OURS,
    "timestep_embedding": _OURS,
}
"""The backends whose kernels have no backward, by op: a call that needs gradients runs on another, `aten` at last."""

FLOAT32_ARITHMETIC = frozenset(
    {
        "attention",
        "bias_act",
        "conv_norm_act",
        "leaky_relu_tangent",
        "linear",
        "norm_act",
        "norm_direction",
        "norm_stats",
        "spectral_norm",
    }
)
"""Ops whose kernels take no float64."""

FLOAT32_ALONE = frozenset({"norm_tangent"})
"""Ops whose kernels take no other dtype."""

MEASURED = frozenset({"attention", "conv_norm_act", "linear", "norm_act"})
"""Ops of which a measurement may choose the kernel."""

_forced: ContextVar[Backend | None] = ContextVar("genfuse_backend", default=None)
_strict: ContextVar[bool | None] = ContextVar("genfuse_strict", default=None)
_reproducible: ContextVar[bool] = ContextVar("genfuse_reproducible", default=True)


@dataclass(frozen=True)
class Choice:
    """What `select` decided, and why each other backend was passed over."""

    op: str
    backend: Backend | Literal["user"] | None
    reason: str
    passed_over: Mapping[str, str]

    def __str__(self) -> str:
        chosen = f"{self.op}: {self.backend or 'no backend'} ({self.reason})"
        return "\n".join([chosen, *(f"  not {name}: {why}" for name, why in self.passed_over.items())])


@contextmanager
def backend(
    name: Backend | None = None, *, strict: bool | None = None, reproducible: bool | None = None
) -> Iterator[None]:
    """Force a backend, forbid `aten`, or let measurements choose, inside a `with` block (of this thread or task).

    reproducible    False: convolutions, norms and, on the CPU, linear layers and attention run on whatever kernel,
                    on a GPU in whatever configuration, was fastest for such a call on this device, PyTorch's own
                    included. It is measured at the first call of its kind and kept on disk (see `genfuse tune`), but
                    never while a CUDA graph is captured. True, the default: by rule, so that a sample's bits depend
                    on it alone.

    A forced backend that cannot run the call raises `UnsupportedError`; it never falls back.
    ValueError for an unknown name, TypeError for another option than True, False and None.
    """
    if name is not None:
        check_name("backend", name, BACKENDS)
    for option, value in (("strict", strict), ("reproducible", reproducible)):
        if value is not None and not isinstance(value, bool):
            raise TypeError(f"{option} is {value!r}, expected True or False")
    was_forced = None if name is None else _forced.set(name)
    was_strict = None if strict is None else _strict.set(strict)
    was_reproducible = None if reproducible is None else _reproducible.set(reproducible)
    try:
        yield
    finally:
        if was_forced is not None:
            _forced.reset(was_forced)
        if was_strict is not None:
            _strict.reset(was_strict)
        if was_reproducible is not None:
            _reproducible.reset(was_reproducible)


@contextmanager
def forcing(name: Backend | None) -> Iterator[None]:
    """Inside a block that forces a backend: forces this one instead, or none."""
    before = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(before)


def is_strict() -> bool:
    """Whether `aten` is forbidden: `backend(strict=...)`, else GENFUSE_STRICT=1."""
    inside = _strict.get()
    return os.environ.get("GENFUSE_STRICT", "") not in ("", "0") if inside is None else inside


def forced() -> Backend | None:
    """The backend that an enclosing `backend(...)` block asks for."""
    return _forced.get()


def is_reproducible() -> bool:
    """Whether kernels are chosen by rule, and not by measurements."""
    return _reproducible.get()


def obstacle(
    op: str, name: Backend, device: torch.device, dtype: torch.dtype, gradients: bool = False
) -> str | None:
    """Why `name` cannot run this call; None where it can."""
    if name not in OPS[op]:
        return "no kernel for this op yet"
    if name in ("aten", "reference"):
        return None
    missing = env.backend_missing(name)
    if missing is not None:
        return missing
    if name == "cpu" and device.type != "cpu":
        return f"x is on {device}, expected cpu"
    interpreted = name == "triton" and env.triton_interpreted()
    if name in ("triton", "cuda") and device.type != "cuda" and not interpreted:
        return f"x is on {device}, expected cuda"
    if device.type == "cuda" and device.index is not None:
        incapable = env.incapable(device.index)
        if incapable is not None:
            return incapable
    dtypes = kernel_dtypes(op)
    if dtype not in dtypes:
        return f"dtype is {dtype}, expected one of {', '.join(str(d) for d in dtypes)}"
    if gradients and name in FORWARD_ONLY.get(op, ()):
        return "gradients are needed, and it has no backward of this op yet"
    return None


_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


def kernel_dtypes(op: str) -> tuple[torch.dtype, ...]:
    """What our own kernels of an op take."""
    if op in FLOAT32_ALONE:
        return (torch.float32,)
    return _SINGLE if op in FLOAT32_ARITHMETIC else (*_SINGLE, torch.float64)


def choose(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool = False,
    limits: Mapping[Backend, str] = MappingProxyType({}),
) -> Choice:
    """Apply the rule; `Choice.backend` is None where nothing permitted can run.

    limits  why a backend that has a kernel for such tensors does not take this call
    """
    check_name("op", op, OPS)
    user = registry.of(op)
    if user is None:
        return _by_rule(op, device, dtype, gradients, limits)
    why = _why_not_user(user, device, dtype)
    if why is None:
        passed_over: dict[str, str] = dict.fromkeys(BACKENDS, f"{user} comes first")
        of = "what it declines raises" if user.strict else "what it declines runs by rule"
        behind = "; backward is genfuse's own" if gradients else ""
        return Choice(op, "user", f"registered: {user}; {of}{behind}", passed_over)
    choice = _by_rule(op, device, dtype, gradients, limits)
    return replace(choice, passed_over={str(user): why, **choice.passed_over})


def _why_not_user(user: registry.UserKernel, device: torch.device, dtype: torch.dtype) -> str | None:
    return "a backend is forced" if forced() is not None else user.obstacle(device, dtype)


def _by_rule(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> Choice:
    """What would run if nobody had registered a kernel."""
    wanted = forced()
    call = op, device, dtype, gradients, limits
    if wanted is not None:
        passed: dict[str, str] = {name: "another backend is forced" for name in BACKENDS if name != wanted}
        why = _why_not(wanted, *call)
        reason = f"forced; {why}" if why else f"forced{_way(wanted)}"
        return Choice(op, None if why else wanted, reason, passed)
    chosen = _first(*call)
    passed_over: dict[str, str] = {}
    candidates = ORDER.get(device.type, ("aten",))
    for name in (*candidates, *(name for name in BACKENDS if name not in candidates)):
        if name != chosen:
            why = _why_not(name, *call) or _forbidden(name)
            last = (
                f"{chosen} comes first on {device.type}"
                if name in candidates
                else "runs only when asked for by name"
            )
            passed_over[name] = why or last
    reason = (
        f"first on {device.type} that can run {op} in {dtype}{_way(chosen)}"
        if chosen
        else "nothing permitted can run it"
    )
    return Choice(op, chosen, reason, passed_over)


def _way(name: Backend) -> str:
    """How the CUDA kernels get to the device, of which there are two ways."""
    if name != "cuda":
        return ""
    from genfuse_kernels.common import cuda_launch  # with all that it needs, which others do not

    return f"; {cuda_launch.way()}"


def _why_not(
    name: Backend,
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> str | None:
    return obstacle(op, name, device, dtype, gradients) or limits.get(name)


def _forbidden(name: Backend) -> str | None:
    return "strict mode forbids PyTorch's own kernels" if name == "aten" and is_strict() else None


def _first(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> Backend | None:
    """What the rule takes where nothing is forced; in every call, so without its reasons."""
    for name in ORDER.get(device.type, ("aten",)):
        if _why_not(name, op, device, dtype, gradients, limits) is None and _forbidden(name) is None:
            return name
    return None


def select(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool = False,
    limits: Mapping[Backend, str] = MappingProxyType({}),
) -> Launcher:
    """The launcher that runs. UnsupportedError, naming the obstacles, where there is none."""
    launch = _launcher_for(op, device, dtype, gradients, limits)
    observer = _observer
    seen = launch if observer is None else observer(op, launch, device, dtype, gradients, limits)
    return explained(op, on_device(device, seen), device)


class Observer(Protocol):
    """Gets each launcher before it runs, and says what runs in its place."""

    def __call__(
        self,
        op: str,
        launch: Launcher,
        device: torch.device,
        dtype: torch.dtype,
        gradients: bool,
        limits: Mapping[Backend, str],
    ) -> Launcher: ...

    def chosen(self, name: str, backend: Backend, launch: Gradient, like: Tensor) -> Gradient:
        """Of a backend that was chosen before: an op's, or its gradient's, `<op>_gradient`."""


_observer: Observer | None = None


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Inside, on all threads, every launcher goes through `observer` before it runs."""
    global _observer
    _observer = observer
    try:
        yield
    finally:
        _observer = None


def gradient_launcher(op: str, backend: Backend, launch: Gradient, like: Tensor) -> Gradient:
    """`launch`, an op's kernel for backward on the backend that its forward pass ran on, so that an observer sees it.

    like    says where, and in what dtype
    """
    return _chosen(f"{op}_gradient", backend, launch, like)


def chosen_launcher(op: str, backend: Backend, like: Tensor) -> Launcher:
    """Of a backend that was chosen before, so that an observer sees it; `like` says where, and in what dtype."""
    return _chosen(op, backend, launcher(op, backend), like)


def _chosen(name: str, backend: Backend, launch: Gradient, like: Tensor) -> Gradient:
    """`launch`, seen by an observer, on the GPU of `like`."""
    observer = _observer
    seen = launch if observer is None else observer.chosen(name, backend, launch, like)
    return explained(name, on_device(like.device, seen), like.device)


def is_observed() -> bool:
    """Whether every launch is to go through `select`."""
    return _observer is not None


def _launcher_for(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> Launcher:
    """The user's, or that of the rule."""
    user = registry.of(op)
    if user is None or _why_not_user(user, device, dtype) is not None:
        return _selected(op, device, dtype, gradients, limits)
    launch = user.launcher()
    if user.strict:
        return launch

    def declining(*arguments: Any, **options: Any) -> None:
        try:
            launch(*arguments, **options)
        except UnsupportedError:
            _selected(op, device, dtype, gradients, limits)(*arguments, **options)

    return declining


def bypasses(op: str) -> bool:
    """Whether a call may go straight to the C++ kernel: nothing else is forced or registered, and nobody looks on."""
    return forced() in (None, "cpu") and registry.of(op) is None and _observer is None


def _selected(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> Launcher:
    """The launcher of the chosen backend."""
    chosen = resolve(op, device, dtype, gradients, limits)
    launch = launcher(op, chosen)
    if not is_measured(op, chosen):
        return launch
    if chosen != "cpu":
        return tuned.launcher(op, _takers(op, device, dtype, gradients, limits), device)
    return measured.launcher(
        op, {"cpu": launch} if is_strict() else {"cpu": launch, "aten": launcher(op, "aten")}
    )


def resolve(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool = False,
    limits: Mapping[Backend, str] = MappingProxyType({}),
) -> Backend:
    """The backend's name, whatever is registered. UnsupportedError, naming the obstacles, where there is none."""
    chosen = _first(op, device, dtype, gradients, limits) if forced() is None else None
    if chosen is not None:
        if chosen == "aten" and device.type == "cuda":
            _warn_of_missing(op)
        return chosen
    choice = _by_rule(op, device, dtype, gradients, limits)
    if choice.backend is None or choice.backend == "user":
        raise UnsupportedError(f"no permitted backend can run this call; {choice}")
    return choice.backend


def _warn_of_missing(op: str) -> None:
    """Once a process: where a GPU's kernels are passed over for what is not installed, and not for the call."""
    missing = {name: env.backend_missing(name) for name in ("triton", "cuda") if name in OPS[op]}
    if all(missing.values()) and not torch.compiler.is_compiling():
        _warn("; ".join(f"{name}: {why}" for name, why in missing.items()))


@functools.cache
def _warn(missing: str) -> None:
    warnings.warn(
        f"on the GPU PyTorch's own kernels run instead of genfuse's: {missing}. `genfuse doctor` says what to do; "
        "strict mode makes this an error",
        stacklevel=4,
    )


def is_measured(op: str, chosen: str | None) -> bool:
    """Whether a measurement decides between this backend's kernels and others."""
    ours = chosen in ("cpu", "triton", "cuda")
    return not is_reproducible() and ours and forced() is None and op in MEASURED


def _takers(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    gradients: bool,
    limits: Mapping[Backend, str],
) -> measured.Launchers:
    """The launchers of all backends that take the call, the one by rule first."""
    names = (
        name
        for name in ORDER["cuda"]
        if _why_not(name, op, device, dtype, gradients, limits) is None and _forbidden(name) is None
    )
    return {name: launcher(op, name) for name in names}  # type: ignore[misc]  # never "reference"


def launcher(op: str, name: Backend) -> Launcher:
    """The function in `genfuse_kernels.<op>.<backend>_impl` (reference: `<op>.reference_impl`)."""
    module = importlib.import_module(f"genfuse_kernels.{op}.{name}_impl")
    launch: Launcher = getattr(module, op)
    return launch
