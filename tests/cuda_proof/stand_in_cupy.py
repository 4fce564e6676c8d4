"""A stand-in for CuPy, and for what of PyTorch's CUDA a launch asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from genfuse_kernels.common import cuda_launch

STREAM = 0x5EED


class StandInCuPy:
    """What the launcher uses of CuPy; `launches` keeps (kernel, grid, block, arguments, device, stream)."""

    def __init__(self) -> None:
        self.launches: list[tuple[Any, ...]] = []
        self.loaded: list[Path] = []
        self._now: dict[str, int] = {}
        self.cuda = SimpleNamespace(Device=self._device, Stream=SimpleNamespace(from_external=self._stream))

    @contextmanager
    def _setting(self, name: str, value: int) -> Iterator[None]:
        before = dict(self._now)
        self._now[name] = value
        yield
        self._now = before

    def _device(self, number: int) -> Any:
        return self._setting("device", number)

    def _stream(self, external: Any) -> Any:
        version, pointer = external.__cuda_stream__()
        assert version == 0
        return self._setting("stream", pointer)

    def RawModule(self, *, path: str) -> Any:
        self.loaded.append(Path(path))
        return SimpleNamespace(get_function=self._function)

    def _function(self, name: str) -> Any:
        def call(
            grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int
        ) -> None:
            assert shared_mem <= max(48 * 1024, getattr(call, "max_dynamic_shared_size_bytes", 0))
            self.launches.append(
                (name, grid, block, arguments, self._now.get("device"), self._now.get("stream"))
            )

        assert "device" in self._now
        return call


def stand_in_torch(monkeypatch: Any, capability: tuple[int, int] = (9, 0)) -> None:
    """Device 2 of `capability` is current, and its stream is `STREAM`; no kernel is loaded yet."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(cuda_launch, "_loaded", cache(cuda_launch._loaded.__wrapped__))
