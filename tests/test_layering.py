"""The house's floors: nothing imports upwards, importing does nothing but define, files stay small."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"genfuse": "engine", "genfuse_kernels": "kernels", "genfuse_bench": "bench"}

FLOORS = (  # top to bottom, as in DESIGN; "genfuse" is the package's own __init__, which hands out names
    {"cli", "__main__"},
    {"commands"},
    {"genfuse"},
    {"diffusers"},
    {"compat", "exporting"},
    {"systems", "rewrite", "schedulers"},
    {"samplers", "nn", "penalties", "losses", "augment", "train"},
    {"tracing"},
    {"ops", "lab"},
    {"dispatch"},
    {"tuned"},
    {"measured", "doctor", "triton_failure"},
    {"data", "evaluate", "env", "errors", "names", "processes", "registry", "rollback"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, by full name; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import, expected the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(dotted: str) -> str:
    """The room that genfuse.<...> lies in; "genfuse" for a name of the package itself."""
    first = dotted.split(".")[1] if "." in dotted else "genfuse"
    package = ROOT / "engine" / "genfuse"
    return first if (package / first).is_dir() or (package / f"{first}.py").is_file() else "genfuse"


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT / "engine" / "genfuse").parts[0].removesuffix(".py")
    return "genfuse" if first == "__init__" else first


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in sources("genfuse")}
    assert rooms <= FLOOR.keys(), f"no floor for {sorted(rooms - FLOOR.keys())}"


def test_nothing_imports_upwards() -> None:
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("genfuse")
        for name in imported(path)
        if name.split(".")[0] == "genfuse" and FLOOR[room(name)] < FLOOR[room_of(path)]
    ]
    assert not upwards, "\n".join(upwards)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("genfuse_kernels", {"genfuse", "genfuse_bench"}), ("genfuse", {"genfuse_bench"})],
)
def test_packages_below_do_not_know_those_above(package: str, forbidden: set[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(path)
        if name.split(".")[0] in forbidden
    ]
    assert not found, "\n".join(found)


def test_source_roots_are_not_packages() -> None:
    """A top-level package named `kernels` or `engine` would clash in site-packages."""
    assert not [root for root in PACKAGES.values() if (ROOT / root / "__init__.py").exists()]


def test_names_and_sizes_of_files() -> None:
    files = [
        path
        for root in ("engine", "kernels", "bench", "csrc", "tests")
        for pattern in ("*.py", "*.cpp", "*.cu", "*.h")
        for path in (ROOT / root).rglob(pattern)
    ]
    assert len(files) > 50
    assert not [path for path in files if path.name in ("utils.py", "torch.py", "triton.py", "helpers.py")]
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files
    }
    assert not {name: count for name, count in lines.items() if count > 500}


IMPORT = """
import json, os, sys
import torch

def state():
    return [
        dict(os.environ), torch.get_num_threads(), torch.get_num_interop_threads(),
        str(torch.get_default_dtype()),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), torch.initial_seed(),
        torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32,
        str(torch.get_default_device()), torch.is_inference_mode_enabled(), os.getcwd(), list(sys.path),
    ]

before, known = state(), set(sys.modules)
import genfuse
genfuse.nn.ConvNormAct, genfuse.ops, genfuse.samplers
import genfuse.cli, genfuse.samplers, genfuse.systems, genfuse.ops
print(json.dumps({"unchanged": state() == before, "modules": sorted(set(sys.modules) - known)}))
"""


def test_importing_only_defines() -> None:
    """No optional dependency, no compiler, no thread and no global of PyTorch is touched by an import.

    `genfuse.schedulers` is left out: where diffusers is installed, it inherits from its mixins.
    """
    path = [str(ROOT / root) for root in PACKAGES.values()]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{IMPORT}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["unchanged"]
    roots = {name.split(".")[0] for name in seen["modules"]}
    assert not roots & {"diffusers", "transformers", "triton", "sklearn", "scipy", "torchvision", "mpmath"}
    assert not [
        name
        for name in seen["modules"]
        if name.startswith(("torch.utils.cpp_extension", "torch._inductor", "torch._dynamo"))
    ]
