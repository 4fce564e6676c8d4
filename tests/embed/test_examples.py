"""The programs of examples/ build from the installed library, with the tools that are here, and draw a disc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from embed import library

ROOT = Path(__file__).parents[2]
PREFIX = library.prefix()
pytestmark = pytest.mark.skipif(
    not (PREFIX / "share/pkgconfig/genfuse.pc").exists(), reason="libgenfuse is not installed"
)


def run(command: list[str], folder: Path) -> None:
    environment = {
        **os.environ,
        "PKG_CONFIG_PATH": str(PREFIX / "share/pkgconfig"),
        "LD_LIBRARY_PATH": str(library.path().parent),
        "GOCACHE": str(folder / "go-cache"),
        "GOFLAGS": "-mod=mod",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=Path.home() / ".cargo/bin")
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def flags(*options: str) -> list[str]:
    environment = {**os.environ, "PKG_CONFIG_PATH": str(PREFIX / "share/pkgconfig")}
    command = [tool("pkg-config"), *options, "genfuse"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def assert_disc(path: Path, pictures: int = 1) -> None:
    """Each picture is the mean that the data are a Gaussian around, within its deviation of 0.05."""
    data = path.read_bytes()
    header, pixels = data[: -pictures * 64 * 64 * 3], data[-pictures * 64 * 64 * 3 :]
    assert header == f"P6\n64 {64 * pictures}\n255\n".encode()
    found = np.frombuffer(pixels, np.uint8).reshape(pictures, 64, 64, 3) / 127.5 - 1
    y, x = np.mgrid[:64, :64] - 32
    inside = (x * x + y * y < 400)[..., None]
    mean = np.where(inside, 0.9 - 0.6 * np.arange(3), -0.5)
    error = np.clip(mean, -1, 1) - found
    assert 0.002 < error.std() < 0.08 and abs(error.mean()) < 0.02, (error.std(), error.mean())


@pytest.mark.parametrize("standard", ["c89", "c99"])
def test_c(tmp_path: Path, standard: str) -> None:
    source = str(ROOT / "examples/c/sample.c")
    strict = ["-std=" + standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wno-long-long", "-O1"]
    run([tool("cc"), source, *strict, *flags("--cflags", "--libs"), "-lm", "-o", "sample"], tmp_path)
    run(["./sample", "sample.ppm"], tmp_path)
    assert_disc(tmp_path / "sample.ppm")


def test_cpp(tmp_path: Path) -> None:
    cmake = tool("cmake")
    run([cmake, "-S", str(ROOT / "examples/cpp"), "-B", "build", f"-DCMAKE_PREFIX_PATH={PREFIX}"], tmp_path)
    run([cmake, "--build", "build"], tmp_path)
    for program in ("sample", "sample_static"):
        run([f"./build/{program}", f"{program}.ppm"], tmp_path)
        assert_disc(tmp_path / f"{program}.ppm", pictures=4)
    assert (tmp_path / "sample.ppm").read_bytes() == (tmp_path / "sample_static.ppm").read_bytes()


def test_rust(tmp_path: Path) -> None:
    rustc = tool("rustc")
    run(
        [
            rustc,
            "--edition=2021",
            "-L",
            str(library.path().parent),
            str(ROOT / "examples/rust/sample.rs"),
            "-o",
            "sample",
        ],
        tmp_path,
    )
    run(["./sample", "sample.ppm"], tmp_path)
    assert_disc(tmp_path / "sample.ppm")


def test_go(tmp_path: Path) -> None:
    go = tool("go")
    shutil.copytree(ROOT / "examples/go", tmp_path / "go")
    run([go, "build", "-o", "../sample", "."], tmp_path / "go")
    run(["./sample", "sample.ppm"], tmp_path)
    assert_disc(tmp_path / "sample.ppm")
