"""Launching without a GPU: compiling, caching and what CuPy is asked to do, on a stand-in for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cuda_proof.stand_in_cupy import STREAM
from genfuse_kernels.common import cuda_kernel, cuda_launch, nvrtc
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.cuda_plan import blocks_of_one
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.philox_normal import cuda_impl as philox_normal
from genfuse_kernels.sampler_step import cuda_impl as sampler_step

SEEDS = torch.tensor([3, -5])


class NothingComputed(TorchDispatchMode):
    """Fails on every operation of PyTorch's but views: an allocation, a copy or a wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.is_view, f"{func} in the step's path"
        return func(*args, **(kwargs or {}))


def test_a_launch_goes_to_the_current_stream_with_one_struct_by_value(cupy):
    out = torch.empty(2, 3, 8, 8)
    philox_normal.philox_normal(out, SEEDS, 7, 1)
    ((name, grid, block, (arguments,), device, stream),) = cupy.launches
    assert (name, grid, block, device, stream) == ("philox_normal", (2,), (128,), 2, STREAM)
    # CuPy passes a numpy array of one element by value
    assert isinstance(arguments, np.ndarray) and arguments.size == 1
    assert arguments["out"]["data"] == out.data_ptr() and arguments["seeds"] == SEEDS.data_ptr()
    assert (arguments["row"], arguments["stream"]) == (7, 1)
    binary = cupy.loaded[0].read_bytes()
    assert binary.startswith(b"\x7fELF") and "sm_90a" in cupy.loaded[0].name


def test_a_kernel_is_compiled_once_and_then_read_from_disk(cupy, monkeypatch):
    compiled = []
    compile_source = nvrtc.compile_source
    monkeypatch.setattr(nvrtc, "compile_source", lambda *call: compiled.append(call) or compile_source(*call))
    for _ in range(2):
        philox_normal.philox_normal(torch.empty(2, 8), SEEDS, 0, 0)
    cuda_launch._loaded.cache_clear()  # as in a new process
    philox_normal.philox_normal(torch.empty(2, 8), SEEDS, 0, 0)
    assert len(compiled) == 1 and len(cupy.loaded) == 2 and len(cupy.launches) == 3
    philox_normal.philox_normal(torch.empty(2, 8, dtype=torch.float16), SEEDS, 0, 0)
    assert len(compiled) == 2


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_step_allocates_nothing_and_waits_for_nothing(cupy, memory_format):
    """So it may be captured in a CUDA graph, once the kernel is loaded."""

    def image(*leading: int) -> torch.Tensor:
        return torch.zeros(4, 4, 8, 8).to(memory_format=memory_format).expand(*leading, 4, 4, 8, 8)

    inputs = dict.fromkeys(("uncond", "variance", "noise", "noise_prev"), image())
    history = torch.stack([image(), image()])
    arguments = (image(), None, image(), image(), torch.zeros(8, 32), torch.zeros(1, dtype=torch.int64))
    given = inputs | {"history": history, "seeds": torch.zeros(4, dtype=torch.int64), "stream": 0}
    given["scales"] = torch.zeros(4, 2)
    for _ in range(2):
        with NothingComputed():
            sampler_step.sampler_step(*arguments, **given)
    assert [launch[0] for launch in cupy.launches] == ["sampler_step"] * 2


def test_a_convolution_asks_for_the_shared_memory_that_it_needs(cupy):
    """And is one launch, with another that merges the parts of its statistics."""
    x = torch.empty(2, 16, 32, 32, dtype=torch.float16).to(memory_format=torch.channels_last)
    weight = torch.empty(128, 16, 3, 3, dtype=torch.float16).to(memory_format=torch.channels_last)
    out, stats = torch.empty(2, 128, 32, 32, dtype=torch.float16), torch.empty(2, 128, 2)
    conv_norm_act(out, stats, x, weight, None, Settings(padding=(1, 1), activation="silu"))
    (name, grid, block, *_), (fold, *_) = cupy.launches
    assert (name, grid, block, fold) == ("conv_norm_act", (2 * 4 * 2,), (256,), "fold_moments")


def test_a_small_picture_is_as_many_blocks_as_dispatch_counts(cupy):
    """Those of the sums' segments, and those that add them."""
    last = torch.channels_last
    x = torch.empty(1, 512, 8, 8, dtype=torch.float16).to(memory_format=last)
    weight = torch.empty(512, 512, 3, 3, dtype=torch.float16).to(memory_format=last)
    s = Settings(padding=(1, 1))
    conv_norm_act(torch.empty_like(x), None, x, weight, None, s)
    blocks, segments = blocks_of_one(weight.shape, s, (8, 8), x.dtype)
    assert segments > 1 and [grid for _, grid, *_ in cupy.launches] == [(blocks,), (blocks // segments,)]


def test_a_failed_compilation_keeps_the_log_and_names_it(cupy, monkeypatch):
    monkeypatch.setitem(cuda_kernel.STORED, torch.float32, "no_such_type")
    with pytest.raises(
        RuntimeError, match=r"cannot compile philox_normal for sm_90a; its log is in (\S+)"
    ) as error:
        philox_normal.philox_normal(torch.empty(2, 8), SEEDS, 0, 0)
    log = Path(str(error.value).rsplit(" ", 1)[1])
    assert 'identifier "no_such_type" is undefined' in log.read_text()
    assert not cupy.launches


def test_a_log_that_cannot_be_kept_is_in_the_error(cupy, monkeypatch, tmp_path):
    monkeypatch.setitem(cuda_kernel.STORED, torch.float32, "no_such_type")
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RuntimeError, match=r'(?s)cannot be kept in .*identifier "no_such_type" is undefined'):
        philox_normal.philox_normal(torch.empty(2, 8), SEEDS, 0, 0)


def test_a_folder_that_cannot_be_written_is_named(cupy, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be kept in .*file/cuda .*set GENFUSE_CACHE to another folder"):
        philox_normal.philox_normal(torch.empty(2, 8), SEEDS, 0, 0)


def test_targets_are_the_devices_own_or_ptx_of_the_newest_that_nvrtc_knows(monkeypatch):
    assert [nvrtc.target(capability) for capability in ((8, 0), (8, 9), (9, 0), (10, 0))] == [
        "sm_80",
        "sm_89",
        "sm_90a",
        "sm_100a",
    ]
    monkeypatch.setattr(nvrtc, "architectures", lambda: (75, 80, 86))
    assert nvrtc.target((9, 0)) == "compute_86"
    with pytest.raises(
        ValueError, match=r"compiles for compute capability 7.5 and higher, the device has 7.0"
    ):
        nvrtc.target((7, 0))


def test_ptx_for_devices_that_nvrtc_does_not_know():
    ptx = cuda_kernel.compiled(Kernel("philox_normal", torch.float32, "flat", False), "compute_90")
    assert b".target sm_90" in ptx and b".entry philox_normal" in ptx


def test_without_nvrtc_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    with pytest.raises(RuntimeError, match=r"NVRTC is not found; pip install 'genfuse\[cuda12\]'"):
        nvrtc.compile_source("", "empty.cu", [], "sm_80")
