"""What a user reads where Triton cannot make a kernel: which one, of what call, why, and where the whole log lies.

Triton's own errors name a line of a kernel, or a command that failed, and not the call. The logs lie beside those of
NVRTC, in the cache directory's `cuda`, where `genfuse doctor` finds them.
"""

from __future__ import annotations

import functools
import hashlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from genfuse.env import version
from genfuse.errors import CompilationError
from genfuse_kernels.common.cache_directory import cache_directory, private_folder
from genfuse_kernels.common.cuda_kernel import write

_INTERPRETED = "triton.runtime.interpreter"
_OF_THE_DEVICE = "Triton Error ["
"""How the message of an error begins that is the driver's, as of an illegal address: no compiler failed."""
_OF_OTHERS = (torch.OutOfMemoryError, MemoryError, TimeoutError)
"""What may be raised while Triton works, and callers wait for: its cause is no kernel."""
_MOST_TENSORS = 8
"""Of a call that a message names; the log has all."""


def explained(op: str, launch: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """`launch`, on a GPU with `CompilationError` raised where Triton fails to make one of its kernels, whyever."""
    if device.type != "cuda":
        return launch

    @functools.wraps(launch)
    def launched(*arguments: Any, **options: Any) -> Any:
        try:
            return launch(*arguments, **options)
        except Exception as error:
            modules = {frame.f_globals.get("__name__", "") for frame in _frames(error)}
            of_triton = any(name.startswith("triton.") for name in modules) and _INTERPRETED not in modules
            of_others = isinstance(error, _OF_OTHERS) or str(error).startswith(_OF_THE_DEVICE)
            if not of_triton or of_others:
                raise
            raise _failure(op, error, (arguments, options)) from error

    return launched


def _failure(op: str, error: Exception, call: Any) -> CompilationError:
    """What to raise, once the log is written."""
    kernel = _kernel(error) or op
    tensors = [_described(leaf) for leaf in tree_leaves(call) if isinstance(leaf, Tensor)]
    more = f" and {len(tensors) - _MOST_TENSORS} more" if len(tensors) > _MOST_TENSORS else ""
    given = ", ".join(tensors[:_MOST_TENSORS]) + more
    what = f"Triton {version('triton')} cannot compile {kernel} for {op} of {given or 'no tensors'}: {_cause(error)}"
    log = "\n".join([what, "", *tensors, "", *traceback.format_exception(error)])
    folder = cache_directory() / "cuda"
    path = folder / f"{kernel}-triton-{hashlib.sha256(what.encode()).hexdigest()[:16]}.log"
    try:
        private_folder(folder)
        write(path, log.encode())
    except OSError as unwritable:
        return CompilationError(
            f"{what}; its log cannot be kept ({unwritable}), set GENFUSE_CACHE to a folder that can be written:\n{log}"
        )
    return CompilationError(f"{what}; its log is in {path}")


def _frames(error: Exception) -> Iterator[Any]:
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


def _kernel(error: Exception) -> str | None:
    """The name of the kernel that was launched; None where Triton failed before, as it looked for the device."""
    from triton.runtime.jit import JITFunction

    launched = (frame.f_locals.get("self") for frame in _frames(error))
    return next((str(each.fn.__name__) for each in launched if isinstance(each, JITFunction)), None)


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _cause(error: BaseException) -> str:
    """The line that says it: of the innermost error, the last that calls itself one, else the last of all."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "error_message", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
