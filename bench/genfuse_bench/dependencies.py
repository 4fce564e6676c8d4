"""What a test file's outcome can depend on, read from its imports: paths of the repository, to be asked of git.

Coarse where that is the honest answer:

    an op's kernels    their whole package but its prose, and of csrc the folder of that name and what all ops share
    genfuse            engine, kernels and csrc, all of it: it chooses kernels by name; genfuse.lab, which has the
                       interpreter and the emulation, is its own folder
    a file that starts processes, reads files, or makes up names of what it imports or runs    the whole repository
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

EVERYTHING = (".", ":(exclude)bench/results/proof.json")

ALWAYS = ("pyproject.toml", "constraints.txt")
ROOTS = ("tests", "engine", "kernels", "bench")
COMPILED = ("csrc/common", "csrc/include", "csrc/bindings", "csrc/CMakeLists.txt")
RUN = ("tests/triton_proof/interpreted", "tests/cuda_proof/emulated")
"""Whose files tests run in processes of their own, by name."""

STARTS: dict[str, tuple[str, ...]] = {
    "tests/triton_proof/process.py": (),
    "tests/cuda_proof/process.py": (),
    "tests/cuda_proof/build.py": ("tests/cuda_proof/emulation", "csrc"),
}
"""Files that start processes, and what those read beside the files of `RUN` that a test names."""

SETTLES = "tests/conftest.py"
"""Of genfuse it asks only what this machine has, which decides what is skipped, not what holds."""

_REACHES_OUT = re.compile(
    r"\b(subprocess|multiprocessing|import_module|rglob|glob|read_text|read_bytes|open)\b|\btest_\{"
)


def dependencies(root: Path, test: str) -> tuple[str, ...]:
    """Paths, for git, of what the outcome of a test file of the checkout at `root` depends on."""
    found: set[str] = set(ALWAYS)
    pending = [test, *_conftests(root, test)]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        source = (root / name).read_text(encoding="utf-8")
        if name.startswith("tests/") and name not in (*STARTS, SETTLES) and _REACHES_OUT.search(source):
            return EVERYTHING
        found.update(STARTS.get(name, ()))
        for module in () if name == SETTLES else imports(source):
            if module.split(".")[:2] == ["genfuse", "lab"]:
                found.add("engine/genfuse/lab")
            elif module.split(".")[0] == "genfuse":
                found.update(("engine", "kernels", "csrc"))
            if module == "genfuse_bench.cards":
                found.add("bench/results/cards.json")
            if (path := file_of(root, module)) is not None and not path.startswith("engine/"):
                pending.append(path)
                found.update(_around(root, path))
        for named in re.findall(r"\btest_\w+\.py\b", source):
            pending += [f"{of}/{named}" for of in RUN if (root / of / named).is_file()]
            pending += [f"{of}/conftest.py" for of in RUN if (root / of / named).is_file()]
    return (*_outermost(found), ":(exclude)*.md")


def _conftests(root: Path, test: str) -> list[str]:
    folders = [str(folder) for folder in Path(test).parents if str(folder) != "."]
    return [f"{folder}/conftest.py" for folder in folders if (root / folder / "conftest.py").is_file()]


def imports(source: str) -> set[str]:
    """Modules by their dotted names, wherever in the file; of `from a import b` a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return found


def file_of(root: Path, module: str) -> str | None:
    """The repository's file of a module; None: another's."""
    path = module.replace(".", "/")
    for of in ROOTS:
        for name in (f"{of}/{path}.py", f"{of}/{path}/__init__.py"):
            if (root / name).is_file():
                return name
    return None


def _around(root: Path, path: str) -> list[str]:
    """Of a kernels' file its op's package, and what is compiled for it."""
    parts = Path(path).parts
    if parts[:2] != ("kernels", "genfuse_kernels") or len(parts) < 4:
        return []
    op = parts[2]
    compiled = [name for name in (*COMPILED, f"csrc/{op}") if (root / name).exists()]
    return [f"kernels/genfuse_kernels/{op}", *compiled]


def _outermost(paths: set[str]) -> tuple[str, ...]:
    """Without those that lie in another of them."""
    return tuple(sorted(path for path in paths if not {str(of) for of in Path(path).parents} & paths))
