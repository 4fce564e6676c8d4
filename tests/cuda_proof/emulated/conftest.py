"""Every case here runs on the emulated kernels, in one of three orders of threads a day, in a whole proof in all."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cuda_proof.build import build_kernel, build_scheduler
from genfuse_kernels.common import cuda_moments
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_walk import THREADS
from genfuse_kernels.conv_norm_act import cuda_conv, cuda_norm, cuda_norm_gradient, cuda_weight_gradient
from genfuse_kernels.cuda_kernels import kernels
from genfuse_kernels.norm_act import cuda_impl as norm_act
from genfuse_kernels.norm_stats import cuda_impl as norm_stats
from genfuse_kernels.philox_normal import cuda_impl as philox_normal
from genfuse_kernels.sampler_reduce import cuda_impl as sampler_reduce
from genfuse_kernels.sampler_step import cuda_impl as sampler_step
from triton_proof.seeds import keep_a_sample, rotating

THREAD_ORDERS = ("forward", "reverse", "shuffled")

BUILT = frozenset(kernels())
"""What is built ahead of time has to be all that is launched."""

Launch = Callable[..., None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    keep_a_sample(config, items)


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kernel], ctypes.CDLL]:
    """A kernel's instantiation on the host, built when it is first asked for: no case compiles what it does not run."""
    folder = tmp_path_factory.mktemp("emulation")
    scheduler = build_scheduler("asan", folder / "scheduler.o")

    @functools.cache
    def of(kernel: Kernel) -> ctypes.CDLL:
        name = f"{kernel.function}-{abs(hash(kernel))}.so"
        return ctypes.CDLL(str(build_kernel(kernel, scheduler, folder / name)))

    return of


@pytest.fixture(params=[THREAD_ORDERS[seed] for seed in rotating(1, len(THREAD_ORDERS))])
def launch(request: pytest.FixtureRequest, emulation: Callable[[Kernel], ctypes.CDLL]) -> Launch:
    """What takes the place of `cuda_launch.launch`."""

    def emulated(
        kernel: Kernel,
        blocks: int,
        arguments: NDArray[np.void],
        device: torch.device,
        threads: int = THREADS,
        shared: int = 0,
    ) -> None:
        assert device.type == "cpu" and arguments.shape == ()
        assert kernel in BUILT, kernel
        of_kernel = emulation(kernel)
        assert of_kernel.argument_bytes() == arguments.dtype.itemsize
        assert of_kernel.block_threads() == threads
        of_kernel.emulate(
            ctypes.c_uint(blocks),
            THREAD_ORDERS.index(request.param),
            ctypes.c_void_p(arguments.ctypes.data),
            ctypes.c_size_t(shared),
        )

    return emulated


@pytest.fixture(autouse=True)
def emulated(launch, monkeypatch) -> None:
    torch.set_num_threads(1)
    for module in (
        cuda_conv,
        cuda_moments,
        philox_normal,
        sampler_step,
        sampler_reduce,
        norm_stats,
        norm_act,
        cuda_norm,
        cuda_norm_gradient,
        cuda_weight_gradient,
    ):
        monkeypatch.setattr(module, "launch", launch)
