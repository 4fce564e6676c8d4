"""Every case here runs on the emulated kernels, in one of three orders of threads a day, in a whole proof in all."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cuda_proof.build import EMULATION, build
from genfuse_kernels.common import cuda_moments
from genfuse_kernels.common.cuda_kernel import ORDERS, STORED, Kernel
from genfuse_kernels.common.cuda_walk import THREADS
from genfuse_kernels.conv_norm_act import cuda_conv, cuda_norm, cuda_norm_gradient
from genfuse_kernels.cuda_kernels import kernels
from genfuse_kernels.norm_act import cuda_impl as norm_act
from genfuse_kernels.norm_stats import cuda_impl as norm_stats
from genfuse_kernels.philox_normal import cuda_impl as philox_normal
from genfuse_kernels.sampler_reduce import cuda_impl as sampler_reduce
from genfuse_kernels.sampler_step import cuda_impl as sampler_step
from triton_proof.seeds import rotating

THREAD_ORDERS = ("forward", "reverse", "shuffled")

PRECISIONS = ("kOneProduct", "kThreeProducts", "kFused")
"""csrc/conv_norm_act/cuda_tile.h."""

BUILT = frozenset(kernels())
"""What is built ahead of time has to be all that is launched."""

Launch = Callable[..., None]


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Callable[[str], ctypes.CDLL]:
    """The emulated kernel of an op, built when it is first asked for."""
    built: dict[str, ctypes.CDLL] = {}

    def of(op: str) -> ctypes.CDLL:
        if op not in built:
            output = tmp_path_factory.mktemp("emulation") / f"{op}.so"
            built[op] = ctypes.CDLL(str(build(EMULATION / f"{op}.cpp", "asan", output, shared=True)))
        return built[op]

    return of


@pytest.fixture(params=[THREAD_ORDERS[seed] for seed in rotating(1, len(THREAD_ORDERS))])
def launch(request, library) -> Launch:
    """What takes the place of `cuda_launch.launch`."""

    def emulated(
        kernel: Kernel,
        blocks: int,
        arguments: NDArray[np.void],
        device: torch.device,
        threads: int = THREADS,
        shared: int = 0,
    ) -> None:
        assert not kernel.wide or kernel.dtype == torch.float32  # what instantiations.h has
        assert device.type == "cpu" and arguments.shape == ()
        assert kernel in BUILT, kernel
        # A convolution's tile and that of norms have one name: each has a library of its own.
        name = "conv_norm_act_norms" if kernel.op == "conv_norm_act" and kernel.part else kernel.op
        of_op, function = library(name), kernel.function
        assert getattr(of_op, f"{function}_argument_bytes")() == arguments.dtype.itemsize
        if hasattr(of_op, f"{function}_threads"):
            assert getattr(of_op, f"{function}_threads")() == threads
        getattr(of_op, function)(
            list(STORED).index(kernel.dtype),
            list(ORDERS).index(kernel.order),
            int(kernel.wide),
            ctypes.c_uint(blocks),
            ctypes.c_uint(threads),
            THREAD_ORDERS.index(request.param),
            ctypes.c_void_p(arguments.ctypes.data),
            ctypes.c_size_t(shared),
            *(value if isinstance(value, int) else PRECISIONS.index(value) for _, value in kernel.macros),
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
    ):
        monkeypatch.setattr(module, "launch", launch)
