"""Compilations of Triton's that fail, each truly: what is raised names kernel, call, cause and the log's file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402
from triton.runtime import build, driver  # noqa: E402

from genfuse import dispatch, env  # noqa: E402
from genfuse.errors import CompilationError, UnsupportedError  # noqa: E402
from genfuse.triton_failure import explained  # noqa: E402
from genfuse_bench.compiled import standin_driver  # noqa: E402
from genfuse_kernels.leaky_relu_tangent.triton_impl import leaky_relu_tangent_kernel  # noqa: E402

CUDA = torch.device("cuda")
GIVEN = torch.zeros(2, 64), torch.zeros(128, dtype=torch.float16)


@triton.jit
def wrong_kernel(out):
    """Of two tiles that do not fit each other."""
    tl.store(out + tl.arange(0, 32), tl.zeros((16,), tl.float32) + tl.zeros((32,), tl.float32))


@triton.jit
def sound_kernel(out):
    """Sums across warps, in shared memory."""
    tl.store(out, tl.sum(tl.load(out + tl.arange(0, 128)), 0))


def wrong(out: torch.Tensor, _: torch.Tensor) -> None:
    wrong_kernel[(1,)](out, enable_fp_fusion=True)


def sound(out: torch.Tensor, _: torch.Tensor) -> None:
    sound_kernel[(1,)](out, enable_fp_fusion=True)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing that was compiled before, and a target."""
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    with standin_driver("sm_80"):
        yield
    for kernel in (sound_kernel, leaky_relu_tangent_kernel):
        kernel.device_caches.clear()


def failure(op: str = "bias_act", launch=sound) -> tuple[str, str]:
    """What is raised, without where the log is, and the log."""
    with pytest.raises(CompilationError) as raised:
        explained(op, launch, CUDA)(*GIVEN)
    message, path = re.fullmatch(r"(?s)(.*); its log is in (\S+)", str(raised.value)).groups()
    assert Path(path).parent.name == "cuda" and isinstance(raised.value, RuntimeError)
    return message, Path(path).read_text(encoding="utf-8")


def test_a_kernel_that_is_wrong():
    message, log = failure(launch=wrong)
    assert message.startswith(
        f"Triton {triton.__version__} cannot compile wrong_kernel for bias_act of (2, 64) float32, "
    )
    assert "(128,) float16: " in message and "16" in message.rpartition(":")[2]
    assert message in log and "tl.store(out + tl.arange(0, 32)" in log and "CompilationError" in log


def test_an_assembler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Of an op of ours, by the launcher that dispatch gives."""
    assembler = tmp_path / "ptxas"
    assembler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "release 12.8, V12.8.93" && exit\n'
        'echo "ptxas info    : 0 bytes gmem" >&2\necho "ptxas error   : planted" >&2\nexit 255\n'
    )
    assembler.chmod(0o700)
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(assembler))
    monkeypatch.setattr(env, "backend_missing", lambda name: None if name == "triton" else "not here (test)")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    leaky_relu_tangent_kernel.device_caches.clear()
    launch = dispatch.select("leaky_relu_tangent", CUDA, torch.float32)
    with pytest.raises(
        CompilationError, match=r"leaky_relu_tangent_kernel .*ptxas error   : planted; its log is in "
    ) as raised:
        launch(torch.zeros(64), torch.zeros(64), torch.ones(64, dtype=torch.bool), 0.2, 1.0)
    log = Path(str(raised.value).rpartition(" ")[2]).read_text(encoding="utf-8")
    assert "ptxas info    : 0 bytes gmem" in log and "Repro command" in log


def test_a_launcher_that_the_c_compiler_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def launcher(*_):
        return build._build("launcher", str(tmp_path / "launcher.c"), str(tmp_path), [], [], [], [])

    monkeypatch.setenv("CC", "/bin/false")
    monkeypatch.setattr(driver.active.__class__, "launcher_cls", staticmethod(launcher), raising=False)
    build._find_compiler.cache_clear()
    try:
        message, log = failure()
    finally:
        build._find_compiler.cache_clear()
    assert "sound_kernel" in message and "'/bin/false'" in message and "CalledProcessError" in log


def test_too_little_shared_memory(monkeypatch: pytest.MonkeyPatch):
    of = driver.active.__class__
    monkeypatch.setattr(of, "launcher_cls", staticmethod(lambda *_: None), raising=False)
    utils = SimpleNamespace(get_device_properties=lambda _: {"max_shared_mem": 1})
    monkeypatch.setattr(of, "utils", utils, raising=False)
    from triton.compiler import compiler

    compiler.max_shared_mem.cache_clear()
    try:
        message, _ = failure()
    finally:
        compiler.max_shared_mem.cache_clear()
    assert "sound_kernel" in message and "out of resource: shared memory" in message


def test_a_log_that_cannot_be_kept_is_in_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(CompilationError, match=r"(?s)cannot be kept .*set GENFUSE_CACHE.*Traceback"):
        explained("bias_act", wrong, CUDA)(*GIVEN)


@pytest.mark.parametrize("error", [UnsupportedError("of ours"), RuntimeError("CUDA out of memory")])
def test_what_is_not_tritons_passes_as_it_is(error: Exception):
    def launch() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        explained("bias_act", launch, CUDA)()
    assert raised.value is error


def test_the_devices_own_errors_pass_as_they_are(monkeypatch: pytest.MonkeyPatch):
    """An illegal address shows in whatever is launched next, which compiled well."""
    message = "Triton Error [CUDA]: an illegal memory access was encountered"

    def launcher(*_):
        raise RuntimeError(message)

    monkeypatch.setattr(driver.active.__class__, "launcher_cls", staticmethod(launcher), raising=False)
    with pytest.raises(RuntimeError, match=re.escape(message)) as raised:
        explained("bias_act", sound, CUDA)(*GIVEN)
    assert not isinstance(raised.value, CompilationError)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), TimeoutError("too late")])
def test_what_callers_wait_for_passes_as_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is raised inside of Triton."""

    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sound_kernel, "_pack_args", interrupted, raising=False)
    monkeypatch.setattr(sound_kernel, "_do_compile", interrupted, raising=False)
    with pytest.raises(type(error)):
        explained("bias_act", sound, CUDA)(*GIVEN)


def test_of_many_tensors_a_message_names_some_and_the_log_all() -> None:
    with pytest.raises(CompilationError) as raised:
        explained("ema_update", lambda *lists: wrong(GIVEN[1], GIVEN[0]), CUDA)(*([torch.zeros(3)] * 40))
    assert "(3,) float32 and 32 more: " in str(raised.value)
