"""Exported networks through the C interface: a whole program, and what it refuses."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

import genfuse
from embed import library
from genfuse import systems
from genfuse.exporting.systems import example
from genfuse.systems.sampling import SHIPPED

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CC", "cc"))
LIBRARY = library.path()

pytestmark = pytest.mark.skipif(not LIBRARY.is_file(), reason="libgenfuse.so is not built")


@pytest.fixture(scope="module")
def system() -> systems.System:  # type: ignore[name-defined]
    return systems.load(SHIPPED)


@pytest.fixture(scope="module")
def unet(system: systems.System, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[name-defined]
    path = tmp_path_factory.mktemp("unet") / "unet.gfz"
    return genfuse.export(system.model.eval(), example(system, system.model, 2), path)


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_a_program_draws_the_pictures_of_genfuse_sample(
    system: systems.System,  # type: ignore[name-defined]
    unet: Path,
    tmp_path: Path,
) -> None:
    """Bit for bit: a U-Net and its sampler, start to finish, without Python."""
    program, picture = tmp_path / "sample", tmp_path / "emoji.png"
    source = ROOT / "examples" / "c_network" / "sample.c"
    linked = [str(LIBRARY), "-lm", f"-Wl,-rpath,{LIBRARY.parent}"]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", f"-I{ROOT / 'csrc' / 'include'}"]
    subprocess.run([str(COMPILER), *flags, str(source), *linked, "-o", str(program)], check=True)
    subprocess.run([str(program), str(unet), str(picture), "7"], check=True)
    images = system.sample(2, seed=7).images
    pixels = (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    row = pixels.permute(2, 0, 3, 1).reshape(32, 64, 3)
    with Image.open(picture) as found:
        assert found.convert("RGB").tobytes() == row.numpy().tobytes()


class Port(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("shape", library.Shape), ("bytes", ctypes.c_size_t)]


def test_what_does_not_fit_is_refused(unet: Path, tmp_path: Path) -> None:
    c = ctypes.CDLL(str(LIBRARY))
    c.genfuse_last_error.restype = ctypes.c_char_p
    c.genfuse_network_inputs.restype = c.genfuse_network_outputs.restype = ctypes.POINTER(Port)
    c.genfuse_network_plan_for.restype = c.genfuse_network_memory.restype = ctypes.c_int64
    network, count = ctypes.c_void_p(), ctypes.c_int64()

    def load(path: Path) -> int:
        status: int = c.genfuse_network_load(ctypes.byref(network), str(path).encode(), 1)
        return status

    io_error, bad_file = 4, 5
    assert load(tmp_path / "missing") == io_error and not network
    (tmp_path / "cut").write_bytes(unet.read_bytes()[:-1])
    assert load(tmp_path / "cut") == bad_file and b"cut" in c.genfuse_last_error() and not network
    assert c.genfuse_network_load(None, b"x", 1) == library.INVALID_ARGUMENT
    assert load(unet) == library.OK
    ports = c.genfuse_network_inputs(network, ctypes.c_int64(0), ctypes.byref(count))
    assert [ports[i].name for i in range(count.value)] == [b"x", b"t", b"label"]
    assert ports[0].bytes == 2 * 3 * 32 * 32 * 4 and list(ports[0].shape.size[:4]) == [2, 3, 32, 32]
    assert not c.genfuse_network_inputs(network, ctypes.c_int64(1), ctypes.byref(count)) and count.value == 0
    assert c.genfuse_network_plan_for(network, ctypes.c_int64(2)) == 0
    assert c.genfuse_network_plan_for(network, ctypes.c_int64(3)) == -1
    assert c.genfuse_network_memory(network, ctypes.c_int64(0)) > 0
    x, label = torch.zeros(2, 3, 32, 32), torch.tensor([14, 15])
    inputs = (ctypes.c_void_p * 3)(x.data_ptr(), torch.zeros(2).data_ptr(), label.data_ptr())
    outputs = (ctypes.c_void_p * 1)(x.data_ptr())
    assert c.genfuse_network_run(network, ctypes.c_int64(0), inputs, outputs, 1) == library.INVALID_ARGUMENT
    assert b"index 1 is 15, expected 0 to 14" in c.genfuse_last_error() and not x.any()
    for plan, given in ((1, inputs), (-1, inputs), (0, None), (0, (ctypes.c_void_p * 3)())):
        status = c.genfuse_network_run(network, ctypes.c_int64(plan), given, outputs, 1)
        assert status == library.INVALID_ARGUMENT
    assert c.genfuse_network_run(None, ctypes.c_int64(0), inputs, outputs, 1) == library.INVALID_ARGUMENT
    c.genfuse_network_free(network)
    c.genfuse_network_free(None)
