"""The programs of examples/ build from the installed library, with the tools that are here, and draw a disc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import genfuse
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


def test_the_library_by_cmake_alone(tmp_path: Path, proof: bool) -> None:
    """As docs/guide/without_python.md says, in an empty folder; compiled, for minutes, with GENFUSE_PROOF=1."""
    cmake, prefix = tool("cmake"), tmp_path / "prefix"
    run([cmake, "-S", str(ROOT / "csrc"), "-B", "build"], tmp_path)
    assert "pybind11_DIR" not in (tmp_path / "build/CMakeCache.txt").read_text()
    targets = subprocess.run(
        [cmake, "--build", "build", "--target", "help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "genfuse_static" in targets and "_cpu" not in targets
    if not proof:
        return
    run([cmake, "--build", "build", "--parallel", str(os.cpu_count())], tmp_path)
    run([cmake, "--install", "build", "--prefix", str(prefix)], tmp_path)
    (archive,) = prefix.glob("lib*/**/libgenfuse.a")
    source = str(ROOT / "examples/c/sample.c")
    linked = [f"-I{prefix}/include", str(archive), "-lstdc++", "-lm", "-pthread"]
    run([tool("cc"), source, *linked, "-o", "sample"], tmp_path)
    run(["./sample", "sample.ppm"], tmp_path)
    assert_disc(tmp_path / "sample.ppm")


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


def disc_model(path: Path) -> None:
    """The exact network of the other examples as ONNX: the noise in x where data are a Gaussian around a disc."""
    onnx = pytest.importorskip("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    y, x = np.mgrid[:64, :64] - 32
    inside = x * x + y * y < 400
    mean = np.where(inside, (0.9 - 0.6 * np.arange(3))[:, None, None], -0.5).astype(np.float32)[None]
    a = genfuse.samplers.noise_schedule().alphas_cumprod
    gain = 0.05**2 * np.sqrt(a) / (a * 0.05**2 + 1 - a)
    # (x − √a·x0)/√(1 − a) with x0 = mean + gain·(x − √a·mean), by one factor of each a timestep
    of_x = (1 - np.sqrt(a) * gain) / np.sqrt(1 - a)
    of_mean = -np.sqrt(a) * (1 - gain * np.sqrt(a)) / np.sqrt(1 - a)
    tables = {"of_x": of_x, "of_mean": of_mean}
    nodes = [helper.make_node("Cast", ["t"], ["index"], to=onnx.TensorProto.INT64)]
    for name in tables:
        nodes.append(helper.make_node("Gather", [f"{name}_table", "index"], [name]))
    nodes.append(helper.make_node("Mul", ["x", "of_x"], ["first"]))
    nodes.append(helper.make_node("Mul", ["mean", "of_mean"], ["second"]))
    nodes.append(helper.make_node("Add", ["first", "second"], ["output"]))
    constants = [array(values.astype(np.float32), f"{name}_table") for name, values in tables.items()]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 64, 64]), ("t", [1]), ("output", [1, 3, 64, 64]))
    ]
    graph = helper.make_graph(nodes, "disc", values[:2], values[2:], [*constants, array(mean, "mean")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def test_onnxruntime(tmp_path: Path) -> None:
    """Where ONNX Runtime's C interface is: ONNXRUNTIME_PREFIX has include/ and lib/, as its releases are laid out."""
    prefix = os.environ.get("ONNXRUNTIME_PREFIX")
    if prefix is None:
        pytest.skip("ONNXRUNTIME_PREFIX is not set: its Python package brings no header")
    disc_model(tmp_path / "model.onnx")
    source = str(ROOT / "examples/onnxruntime/sample.c")
    theirs = [f"-I{prefix}/include", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lonnxruntime"]
    run([tool("cc"), source, "-Wall", "-O1", *flags("--cflags", "--libs"), *theirs, "-o", "sample"], tmp_path)
    run(["./sample", "model.onnx", "sample.ppm"], tmp_path)
    assert_disc(tmp_path / "sample.ppm")
