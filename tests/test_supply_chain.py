"""Nothing is fetched, nothing that is loaded can run, and caches are the user's alone, with their content checked."""

from __future__ import annotations

import ast
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genfuse import measured
from genfuse.data.cache import cached_array
from genfuse_kernels.common import cuda_kernel, nvrtc
from genfuse_kernels.common.cache_directory import private_folder

ROOT = Path(__file__).parent.parent
SOURCES = [path for root in ("engine", "kernels", "bench") for path in sorted((ROOT / root).rglob("*.py"))]

OFFLINE = """
import socket, sys
sys.path[:0] = {path!r}

def refused(*args, **kwargs):
    raise AssertionError(f"the network was asked: {{args}}")

socket.getaddrinfo = socket.create_connection = refused
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refused

import torch, genfuse, genfuse.cli, genfuse.compat.stylegan
from genfuse.systems import ddpm
from genfuse.systems.sampling import SHIPPED, sample_pictures
from genfuse.evaluate.encoder import encoder
torch.set_num_threads(1)
pictures = sample_pictures(ddpm.load(SHIPPED), 1, steps=1, batch=1)
encoder()
genfuse.schedulers.DDIMScheduler().set_timesteps(3)
print("offline", len(pictures.images))
"""


def test_nothing_is_fetched_at_import_or_run() -> None:
    """Sampling from the shipped checkpoint, the shipped encoder, the schedulers: with every socket refused."""
    path = [str(ROOT / root) for root in ("engine", "kernels", "bench")]
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE.format(path=path)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("offline")


def test_nothing_that_is_loaded_can_run() -> None:
    """No file of ours unpickles: no pickle, torch.load of weights alone, numpy's arrays without objects."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                if names & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}:
                    found.append(f"{path}:{node.lineno} imports a pickler")
            elif isinstance(node, ast.Call):
                said = {word.arg: ast.unparse(word.value) for word in node.keywords}
                called = ast.unparse(node.func)
                if called == "torch.load" and said.get("weights_only") != "True":
                    found.append(f"{path}:{node.lineno} calls torch.load without weights_only=True")
                if called == "np.load" and said.get("allow_pickle") != "False":
                    found.append(f"{path}:{node.lineno} calls np.load without allow_pickle=False")
    assert not found, "\n".join(found)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_caches_are_made_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "home" / "cache"
    monkeypatch.setenv("GENFUSE_CACHE", str(folder))
    cached_array("key", lambda: np.arange(3))
    measured.save(measured.Place(folder / "measured" / "here.json", "build"))
    assert {mode(each) for each in (folder.parent, folder, folder / "measured")} == {0o700}
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match=r"may be written by everybody.*GENFUSE_CACHE"):
        cached_array("key", lambda: np.arange(3))
    folder.chmod(0o755)  # of an earlier version: nobody else can change it
    assert private_folder(folder) == folder


def test_a_changed_or_missing_byte_of_a_kept_array_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    wanted = np.arange(64, dtype=np.int32)
    cached_array("key", lambda: wanted)
    file = tmp_path / "key.npz"
    whole = file.read_bytes()
    for place in range(0, len(whole), 5):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        np.testing.assert_array_equal(cached_array("key", lambda: wanted), wanted)
    for length in range(0, len(whole), 29):
        file.write_bytes(whole[:length])
        np.testing.assert_array_equal(cached_array("key", lambda: wanted), wanted)


def test_a_changed_kernel_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(cuda_kernel, "compiled", lambda kernel, target: b"the right binary")
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    kernel = cuda_kernel.Kernel("philox_normal", torch.float32, next(iter(cuda_kernel.ORDERS)), False)
    path = cuda_kernel.cached(kernel, "sm_90")
    path.write_bytes(b"another binary")
    assert cuda_kernel.cached(kernel, "sm_90") == path
    assert path.read_bytes() == b"the right binary"
    path.with_suffix(".sha256").unlink()
    path.write_bytes(b"half")
    assert cuda_kernel.cached(kernel, "sm_90").read_bytes() == b"the right binary"


def test_changed_measurements_are_measured_again(tmp_path: Path) -> None:
    place = measured.Place(tmp_path / "here.json", "build")
    choice = measured.Measured("linear", "call", "cpu", "", (), 1.0, 2.0)
    measured.loaded(place)["linear", "call"] = choice
    measured.save(place)
    measured.loaded.cache_clear()
    assert measured.loaded(place) == {("linear", "call"): choice}
    place.file.write_text(place.file.read_text().replace('"cpu"', '"aten"'))
    measured.loaded.cache_clear()
    assert measured.loaded(place) == {}
