"""Kernels built ahead of time: what is in the folder, what is refused, and launching them by a stand-in driver."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import genfuse
from cuda_proof.build import needs_compiler
from cuda_proof.stand_in_cupy import STREAM, stand_in_torch
from cuda_proof.stand_in_driver import build_driver
from genfuse import cli, dispatch, env
from genfuse_kernels.common import cuda_build, cuda_built, cuda_driver, cuda_kernel, nvrtc
from genfuse_kernels.common.cuda_built import RefusedError, best
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.cuda_kernels import TARGETS, kernels
from genfuse_kernels.philox_normal.cuda_impl import philox_normal
from triton_proof.seeds import WHOLE, rotating

SEEDS = torch.tensor([3, -5])
FILL = Kernel("philox_normal", torch.float32, "flat", False)
TILE = (("PIXELS", 128), ("OUTPUTS", 128), ("PRECISION", "kOneProduct"))
CONV = Kernel("conv_norm_act", torch.float16, "planes", False, macros=TILE)
FOLD = Kernel("fold_moments", torch.float32, "planes", False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests launch, and another kernel every day; in a whole proof all."""
    folder = tmp_path_factory.mktemp("built")
    every = list(kernels())
    some = [FILL, CONV, FOLD, *(every[i] for i in rotating(1, len(every)))]
    assert set(some) <= set(every)
    cuda_build.build(folder, TARGETS, every if WHOLE else list(dict.fromkeys(some)))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is where kernels are looked for."""
    copy = tmp_path / "built"
    shutil.copytree(made, copy)
    monkeypatch.setenv("GENFUSE_CUDA_KERNELS", str(copy))
    cuda_built.read.cache_clear()
    return copy


def test_every_target_has_every_kernel_and_ptx_is_for_the_newest(made: Path) -> None:
    pytest.importorskip("triton")  # which brings cuobjdump
    from genfuse_bench.sass import tool

    index = json.loads((made / "index.json").read_text())
    assert index["targets"] == [*TARGETS, "compute_100"]
    named = {str(kernel): kernel for kernel in kernels()}
    assert len(named) == len(list(kernels()))
    for name, of in index["kernels"].items():
        function = named[name].function
        for target in TARGETS:
            binary = (made / of[target]["file"]).read_bytes()
            symbols = tool("cuobjdump", binary, "-symbols")
            assert re.search(rf"STO_ENTRY\s+{function}\n", symbols), symbols
            assert f" sm={target.removeprefix('sm_')}, " in tool("cuobjdump", binary, "-elf").splitlines()[1]
        ptx = (made / of["compute_100"]["file"]).read_text()
        assert f".entry {function}(" in ptx and ".target sm_100\n" in ptx
    assert {path.name for path in made.iterdir()} == {
        "index.json",
        *(binary["file"] for of in index["kernels"].values() for binary in of.values()),
    }


def test_what_is_sound_is_kept_and_what_is_not_is_made_again(
    made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = json.loads((folder / "index.json").read_text())["kernels"][str(FILL)]
    (folder / index["sm_80"]["file"]).write_bytes(b"damaged")
    (folder / index["sm_90a"]["file"]).unlink()
    (folder / "philox_normal-sm_70-0.bin").touch()
    compiled: list[str] = []

    def compile_to(path: Path, kernel: Kernel, target: str) -> None:
        compiled.append(target)
        shutil.copy(made / path.name, path)

    monkeypatch.setattr(cuda_build, "compile_to", compile_to)
    cuda_build.build(folder, TARGETS, [FILL, FOLD])
    assert sorted(compiled) == ["sm_80", "sm_90a"]
    assert len(list(folder.iterdir())) == 2 * 4 + 1  # the other kernels' files are gone
    assert cuda_built.found() is not None


def test_what_a_device_runs() -> None:
    targets = ("sm_80", "sm_86", "sm_90a", "sm_100", "sm_100a", "compute_100")
    wanted = {
        (8, 0): "sm_80",
        (8, 9): "sm_86",
        (9, 0): "sm_90a",
        (10, 0): "sm_100a",
        (10, 3): "sm_100",
        (12, 1): "compute_100",
        (7, 5): None,
    }
    assert {capability: best(targets, capability) for capability in wanted} == wanted
    assert best(["sm_90a", "compute_90"], (8, 9)) is None


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["sm_75"], "target is 'sm_75', expected one that NVRTC .* sm_80, "),
        (["sm_999"], "target is 'sm_999'"),
        (["compute_90"], "target is 'compute_90'"),
        (["90"], "target is '90'"),
        ([], "there are no targets"),
    ],
)
def test_targets_that_there_are_not(targets: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        cuda_build.build(tmp_path / "none", targets, [FILL])
    assert not (tmp_path / "none").exists()


def damage(folder: Path, name: str) -> None:
    path = folder / "index.json"
    index = json.loads(path.read_text())
    binary = folder / index["kernels"][str(FILL)]["sm_90a"]["file"]
    if name == "no JSON":
        path.write_text(path.read_text()[:-9])
    elif name == "no index":
        path.unlink()
    elif name == "another file's content":
        binary.write_bytes(binary.read_bytes()[:-1] + b"x")
    elif name == "a file that is gone":
        binary.unlink()
    else:
        changed = {
            "another format": index | {"format": 2},
            "a list": [],
            "half an entry": index | {"kernels": {str(FILL): {"sm_80": {}}}},
            "other sources": index | {"sources": index["sources"] | {str(FILL): "0"}},
            "an unknown kernel": index
            | {"kernels": index["kernels"] | {"gone": index["kernels"][str(FILL)]}},
        }
        path.write_text(json.dumps(changed[name]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no JSON", "index.json is not what was written: it is no JSON"),
        ("no index", r"index.json cannot be read \(No such file"),
        ("another format", "has format 2, expected 1"),
        ("a list", "index.json is not what was written: TypeError"),
        ("half an entry", "index.json is not what was written: KeyError"),
        ("other sources", r"built from other sources than this genfuse has \(philox_normal float flat, 1 of"),
        ("an unknown kernel", r"built from other sources than this genfuse has \(gone, 1 of"),
        ("another file's content", "is not what was built: its hash differs"),
        ("a file that is gone", r"\.bin cannot be read \(No such file"),
    ],
)
def test_what_is_damaged_or_outdated_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """With what to do, and not passed over: CuPy is not asked."""
    damage(folder, name)
    stand_in_torch(monkeypatch)
    with pytest.raises(
        RefusedError, match=said + r".*; run `genfuse build-cuda --output \S+` again, or remove the folder"
    ):
        philox_normal(torch.empty(2, 3, 8, 8), SEEDS, 7, 1)


def test_what_was_not_built_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_torch(monkeypatch)
    if not WHOLE:
        with pytest.raises(
            RefusedError, match="philox_normal bfloat16 planes 64-bit is not among the kernels"
        ):
            built = cuda_built.found()
            assert built is not None
            missing = FILL._replace(dtype=torch.bfloat16, order="planes", wide=True)
            built.kernels.pop(str(missing), None)
            built.file(missing, (9, 0))
    stand_in_torch(monkeypatch, (7, 5))
    with pytest.raises(RefusedError, match=r"are for sm_80, .*, the GPU has compute capability 7.5; .*sm_75"):
        philox_normal(torch.empty(2, 3, 8, 8), SEEDS, 7, 1)


@pytest.fixture
def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the stand-in driver writes down what it is asked for."""
    library = build_driver(tmp_path)
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(library))
    for cached in (cuda_driver.library, cuda_driver.context):
        cached.cache_clear()
    log = tmp_path / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    monkeypatch.setenv("STANDIN_DEVICES", "A:8:0;B:8:0;C:9:0;")
    stand_in_torch(monkeypatch)
    yield log
    for cached in (cuda_driver.library, cuda_driver.context):
        cached.cache_clear()


def calls(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()]


@needs_compiler
def test_the_driver_launches_as_cupy_does(driver: Path, cupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kernels with the same arguments, by value, on PyTorch's stream."""
    out = torch.empty(2, 3, 8, 8)
    x = torch.empty(2, 16, 32, 32, dtype=torch.float16)
    weight = torch.empty(128, 16, 3, 3, dtype=torch.float16)
    image, stats = torch.empty(2, 128, 32, 32, dtype=torch.float16), torch.empty(2, 128, 2)

    def work() -> None:
        philox_normal(out, SEEDS, 7, 1)
        conv_norm_act(image, stats, x, weight, None, Settings(padding=(1, 1)))

    def launched() -> list[list[str]]:
        return [call for call in calls(driver) if call[0] == "launch"]

    monkeypatch.setenv("STANDIN_BYTES", "96")
    work()
    loads = [" ".join(call) for call in calls(driver) if call[0] != "launch"]
    assert loads[:2] == ["retain 2", "load cubin in 0xc2"]
    assert loads.count("load cubin in 0xc2") == 3
    (asked,) = (call for call in loads if call.startswith("attribute"))
    assert asked.startswith("attribute conv_norm_act 8 ") and int(asked.split()[-1]) > 48 * 1024
    monkeypatch.delenv("GENFUSE_CUDA_KERNELS")
    stand_in_torch(monkeypatch)
    work()
    assert [call[1] for call in launched()] == [launch[0] for launch in cupy.launches]
    for call, (name, grid, block, (arguments,), device, stream) in zip(
        launched(), cupy.launches, strict=True
    ):
        assert call[1:4] == [name, f"{grid[0]},1,1", f"{block[0]},1,1"]
        assert (call[5], call[6]) == (hex(STREAM), hex(0xC0 + device)) and stream == STREAM
        if name == "philox_normal":  # the others' first bytes are of tables that are made in each call
            assert call[7] == arguments.tobytes()[:96].hex()
    before = len(calls(driver))
    monkeypatch.setenv("GENFUSE_CUDA_KERNELS", "/nowhere")
    work()  # they are loaded
    assert len(calls(driver)) == before and len(cupy.launches) == 6


@needs_compiler
def test_a_driver_that_refuses_is_quoted(driver: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = json.loads((folder / "index.json").read_text())
    binary = index["kernels"][str(FILL)]["sm_90a"]
    (folder / binary["file"]).write_bytes(b"no cubin")
    monkeypatch.setattr(cuda_built.Built, "file", lambda self, kernel, capability: folder / binary["file"])
    with pytest.raises(RuntimeError, match="cuModuleLoadData failed with status 200: stand-in's error"):
        philox_normal(torch.empty(2, 3, 8, 8), SEEDS, 7, 1)


def test_nothing_is_loaded_while_a_graph_is_captured(cupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="philox_normal would be loaded while a CUDA graph is captured"):
        philox_normal(torch.empty(2, 8), SEEDS, 0, 0)
    assert not cupy.loaded


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    stand_in_torch(monkeypatch)
    monkeypatch.setattr(env, "incapable", env.incapable.__wrapped__)
    monkeypatch.setattr(env, "backend_missing", env.backend_missing.__wrapped__)


def test_explain_says_which_way_kernels_take(
    gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither CuPy nor NVRTC is needed where kernels were built."""
    device = torch.device("cuda", 0)
    with genfuse.backend("cuda"):
        monkeypatch.setattr(nvrtc, "library", lambda: None)
        choice = dispatch.choose("sampler_step", device, torch.float32)
        assert choice.backend == "cuda"
        assert re.search(
            rf"built ahead of time by NVRTC \S+, in {folder}, launched by the driver", choice.reason
        )
        stand_in_torch(monkeypatch, (8, 9))
        assert dispatch.choose("sampler_step", device, torch.float32).backend == "cuda"
        damage(folder, "other sources")
        cuda_built.read.cache_clear()
        assert "built from other sources" in dispatch.choose("sampler_step", device, torch.float32).reason
        monkeypatch.delenv("GENFUSE_CUDA_KERNELS")
        monkeypatch.setenv("GENFUSE_CACHE", str(folder.parent))
        assert "CuPy is not installed" in dispatch.choose("sampler_step", device, torch.float32).reason
        folder.rename(folder.parent / "cuda-built")  # found without being named
        assert "built from other sources" in dispatch.choose("sampler_step", device, torch.float32).reason
        monkeypatch.undo()


def test_the_command(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_to(path: Path, kernel: Kernel, target: str) -> None:
        cuda_kernel.write(path, b"binary")

    monkeypatch.setattr(cuda_build, "compile_to", compile_to)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.app, ["build-cuda", *arguments])
        return f"{result.exit_code} {' '.join(result.output.split())}"

    output = str(tmp_path / "here")
    told = run("--targets", "sm_80,sm_90a", "--output", output, "--dtypes", "float16,bfloat16")
    assert re.fullmatch(
        rf"0 \d+ kernels for sm_80, sm_90a, and PTX: \S+ MiB -> \S+ GENFUSE_CUDA_KERNELS={output} runs them",
        told,
    )
    index = json.loads(Path(output, "index.json").read_text())
    assert index["targets"] == ["sm_80", "sm_90a", "compute_90"]
    assert {name.split()[0] for name in index["kernels"]} >= {"sampler_step", "conv_norm_act", "fold_moments"}
    assert not [name for name in index["kernels"] if " float " in name and "fold_" not in name]
    assert "2 error: target is 'sm_50'" in run("--targets", "sm_50")
    assert "2 error: dtype is 'half'" in run("--dtypes", "half")
    (tmp_path / "file").touch()
    assert "2 error: output is" in run("--output", str(tmp_path / "file"))
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    assert "2 error: NVRTC is not found: pip install 'genfuse[cuda1" in run()
    assert Path(output).exists()
