"""`genfuse.register`: a kernel file that dispatch chooses before its own kernels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

import torch

from genfuse import registry
from genfuse.errors import KernelError
from genfuse.lab import loader
from genfuse.lab.kernel_file import Source, Watch, read


class Registration:
    """A registered file: `unregister()`, or a `with` block, takes it out again. Safe to use from several threads."""

    def __init__(self, source: Source, strict: bool) -> None:
        self.source, self.strict = source, strict
        self._lock = threading.Lock()
        self._watch = Watch(source)
        self._load(source)

    @property
    def op(self) -> str:
        """What it is a kernel of."""
        return self.source.op

    def obstacle(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it does not run on such tensors; None where it does."""
        devices, dtypes = self.source.devices, self.source.dtypes
        if devices and device.type not in devices and not self._is_interpreted:
            return f"it runs on {', '.join(devices)}, and x is on {device}"
        if dtype not in dtypes:
            return f"it takes {', '.join(map(str, dtypes))}, and x is of {dtype}"
        return None

    @property
    def _is_interpreted(self) -> bool:
        return self.source.language == "triton" and os.environ.get("TRITON_INTERPRET", "") not in ("", "0")

    def launcher(self) -> Callable[..., None]:
        """The file's, as it is now. KernelError where it has changed and does not compile or fit any more."""
        if self._watch.may_have_changed():
            with self._lock:
                self._reload()
        return self._launch

    def _reload(self) -> None:
        try:
            now = read(self.source.path, self.source.op)
        except FileNotFoundError:
            raise KernelError(
                f"{self.source.path}, which is registered for {self.op}, is not there any more; "
                f"genfuse.unregister({self.op!r})"
            ) from None
        if now.hash != self.source.hash:
            self._load(now)
        elif not self._watch.is_of(now):
            self._watch = Watch(now)

    def _load(self, source: Source) -> None:
        watch = Watch(source)  # before it is compiled: what is written meanwhile shows
        self._launch = loader.load(source)
        self.source, self._watch = source, watch

    def unregister(self) -> None:
        """Out of dispatch; the one registered before it comes back."""
        registry.remove(self.op, self)

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def __str__(self) -> str:
        return f"{self.source.path} ({self.source.language}, {self.source.hash})"


def register(file: str | os.PathLike[str], op: str | None = None, *, strict: bool = False) -> Registration:
    """Make dispatch run a kernel of one's own: a C++ (.cpp), CUDA (.cu), Triton or Python (.py) file.

    file     outside or inside of any package; compiled or imported now, and again when its content has changed
    op       where the file has kernels of several ops; else the file tells
    strict   a call that the kernel declines raises `UnsupportedError`; else it runs on what the rule chooses

    It is the op's for the whole process, in every device and dtype that it takes, until it is unregistered: use it in
    a `with` block, or call `.unregister()`. `genfuse.backend(name)` goes before it. Backward passes stay genfuse's.
    `genfuse lab check FILE` holds a kernel against its op's cases: register checks its form alone.

    KernelError, with the user's own line, where it does not compile or does not fit the op's contract;
    FileNotFoundError.
    """
    if not isinstance(strict, bool):
        raise TypeError(f"strict is {strict!r}, expected True or False")
    registration = Registration(read(file, op), strict)
    registry.add(registration.op, registration)
    return registration


def unregister(op: str) -> None:
    """Take out the last kernel that was registered for the op. ValueError where there is none."""
    kernel = registry.of(op)
    if kernel is None:
        raise ValueError(f"no kernel is registered for {op!r}")
    registry.remove(op, kernel)
