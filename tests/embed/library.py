"""libgenfuse.so as its users load it, by ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import genfuse_kernels

MAX_AXES, COLUMNS = 16, 32
OK, INVALID_ARGUMENT, OUT_OF_MEMORY, UNSUPPORTED = range(4)
FLOAT32, FLOAT64, BFLOAT16, FLOAT16 = range(4)


def path() -> Path:
    """The library that GENFUSE_LIBRARY names, else the installed one."""
    given = os.environ.get("GENFUSE_LIBRARY")
    if given:
        return Path(given)
    folders = [Path(folder) for folder in genfuse_kernels.__path__]
    extension = getattr(genfuse_kernels, "_cpu", None)
    if extension is None:
        import genfuse_kernels._cpu as extension
    folders.append(Path(extension.__file__).parent)
    return next((f / "libgenfuse.so" for f in folders if (f / "libgenfuse.so").exists()), folders[-1])


def prefix() -> Path:
    """Where it is installed: GENFUSE_PREFIX, else the package's folder."""
    return Path(os.environ.get("GENFUSE_PREFIX", path().parent))


class Shape(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("axes", ctypes.c_int32), ("size", ctypes.c_int64 * MAX_AXES)]

    @classmethod
    def of(cls, dtype: int, *size: int) -> Shape:
        return cls(dtype, len(size), (ctypes.c_int64 * MAX_AXES)(*size))


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("stride", ctypes.c_int64 * MAX_AXES)]

    @classmethod
    def of(cls, tensor: Any) -> Tensor:
        """A torch tensor's memory."""
        return cls(tensor.data_ptr(), (ctypes.c_int64 * MAX_AXES)(*tensor.stride()))


class Option(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("number", ctypes.c_double), ("text", ctypes.c_char_p)]


Numbers = ctypes.POINTER(ctypes.c_double)
Tau = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_void_p)


class Schedule(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("num_train_timesteps", ctypes.c_int64),
        ("beta_start", ctypes.c_double),
        ("beta_end", ctypes.c_double),
        ("betas", Numbers),
        ("alphas_cumprod", Numbers),
        ("zero_terminal_snr", ctypes.c_int32),
        ("finite_sigmas", ctypes.c_int32),
        ("sigma_min", ctypes.c_double),
        ("sigma_max", ctypes.c_double),
        ("rho", ctypes.c_double),
        ("sigma_data", ctypes.c_double),
    ]


class SamplerOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("schedule", ctypes.POINTER(Schedule)),
        ("prediction", ctypes.c_char_p),
        ("clip_minimum", ctypes.c_double),
        ("clip_maximum", ctypes.c_double),
        ("clip_quantile", ctypes.c_double),
        ("threshold_max", ctypes.c_double),
        ("guidance", ctypes.c_double),
        ("guidance_rescale", ctypes.c_double),
        ("spacing", ctypes.c_char_p),
        ("timesteps", Numbers),
        ("timestep_count", ctypes.c_int64),
        ("sigmas", ctypes.c_char_p),
        ("sigma_levels", Numbers),
        ("sigma_level_count", ctypes.c_int64),
        ("strength", ctypes.c_double),
        ("options", ctypes.POINTER(Option)),
        ("option_count", ctypes.c_int64),
        ("tau", Tau),
        ("tau_context", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
    ]


class StepInputs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        *(
            (name, Tensor)
            for name in ("x", "model_output", "out", "uncond", "variance", "noise", "noise_prev")
        ),
        ("rows", ctypes.POINTER(ctypes.c_int64)),
    ]


def load() -> ctypes.CDLL:
    """The library, with what its functions return."""
    library = ctypes.CDLL(str(path()))
    for name in ("version", "instruction_set", "last_error", "sampler_name"):
        getattr(library, f"genfuse_{name}").restype = ctypes.c_char_p
    for name in ("timesteps", "input_scale", "table"):
        getattr(library, f"genfuse_sampler_{name}").restype = Numbers
    library.genfuse_sampler_name.argtypes = [ctypes.c_int64]
    library.genfuse_sampler_rows.restype = ctypes.c_int64
    return library


LIBRARY = load() if path().is_file() else None


class CError(Exception):
    """A status that is not OK, and its message."""

    def __init__(self, status: int) -> None:
        assert LIBRARY is not None
        super().__init__(LIBRARY.genfuse_last_error().decode())
        self.status = status


def check(status: int) -> None:
    if status != OK:
        raise CError(status)


def numbers(values: Sequence[float] | NDArray[np.float64]) -> Any:
    return (ctypes.c_double * len(values))(*values)


def int64s(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def schedule_of(**fields: Any) -> Schedule:
    """A `genfuse_schedule`, by its fields."""
    assert LIBRARY is not None
    schedule = Schedule()
    LIBRARY.genfuse_schedule_init(ctypes.byref(schedule), ctypes.c_size_t(ctypes.sizeof(schedule)))
    for name, value in fields.items():
        if name in ("betas", "alphas_cumprod"):
            schedule.num_train_timesteps = len(value)
            value = ctypes.cast(numbers(value), Numbers)
        setattr(schedule, name, value.encode() if isinstance(value, str) else value)
    return schedule


def option_of(name: str, value: Any) -> Option:
    if isinstance(value, str):
        return Option(name.encode(), 0.0, value.encode())
    return Option(name.encode(), float(value), None)


def options_of(
    own: Sequence[tuple[str, Any]] = (), tau: Callable[[float], float] | None = None, **fields: Any
) -> SamplerOptions:
    """`genfuse_sampler_options`: `own` are the solver's, the others fields of the structure."""
    assert LIBRARY is not None
    options = SamplerOptions()
    LIBRARY.genfuse_sampler_options_init(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options)))
    for name, value in fields.items():
        if name == "schedule":
            options.schedule = ctypes.pointer(value)
        elif name in ("timesteps", "sigma_levels"):
            setattr(options, name, ctypes.cast(numbers(value), Numbers))
            setattr(options, name[:-1] + "_count", len(value))
        else:
            setattr(options, name, value.encode() if isinstance(value, str) else value)
    array = (Option * max(len(own), 1))(*(option_of(name, value) for name, value in own))
    options.options, options.option_count = ctypes.cast(array, ctypes.POINTER(Option)), len(own)
    if tau is not None:
        options.tau = Tau(lambda time, _: tau(time))
    return options


class CSampler:
    """A `genfuse_sampler` that frees itself."""

    def __init__(
        self, name: str, steps: int, shape: Shape | None = None, options: SamplerOptions | None = None
    ) -> None:
        assert LIBRARY is not None
        self.handle = ctypes.c_void_p()
        self.shape = Shape.of(FLOAT32, 1, 1) if shape is None else shape
        check(
            LIBRARY.genfuse_sampler_create(
                ctypes.byref(self.handle),
                name.encode(),
                ctypes.c_int64(steps),
                ctypes.byref(self.shape),
                None if options is None else ctypes.byref(options),
            )
        )

    def __del__(self) -> None:
        if LIBRARY is not None:
            LIBRARY.genfuse_sampler_free(self.handle)

    def __len__(self) -> int:
        assert LIBRARY is not None
        return int(LIBRARY.genfuse_sampler_rows(self.handle))

    def array(self, name: str, columns: int = 0) -> NDArray[np.float64]:
        """timesteps, input_scale or table."""
        pointer = getattr(LIBRARY, f"genfuse_sampler_{name}")(self.handle)
        shape = (len(self), columns) if columns else (len(self),)
        return np.ctypeslib.as_array(pointer, shape).copy()

    def call(self, function: str, *arguments: Any) -> None:
        """genfuse_sampler_<function>; tensors are passed by their memory."""
        converted = [
            ctypes.c_void_p(a.data_ptr())
            if hasattr(a, "data_ptr")
            else ctypes.c_int64(a)
            if type(a) is int
            else a
            for a in arguments
        ]
        check(getattr(LIBRARY, f"genfuse_sampler_{function}")(self.handle, *converted))

    def step_with(self, i: int, rows: Sequence[int] | None = None, **tensors: Any) -> None:
        """genfuse_sampler_step_with; tensors by their names."""
        assert LIBRARY is not None
        inputs = StepInputs()
        LIBRARY.genfuse_step_inputs_init(ctypes.byref(inputs), ctypes.c_size_t(ctypes.sizeof(inputs)))
        for name, tensor in tensors.items():
            setattr(inputs, name, Tensor.of(tensor))
        if rows is not None:
            inputs.rows = ctypes.cast(int64s(rows), ctypes.POINTER(ctypes.c_int64))
        self.call("step_with", i, ctypes.byref(inputs))
