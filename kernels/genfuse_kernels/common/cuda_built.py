"""CUDA kernels that were built ahead of time: a folder of binaries, and an index with their hashes.

    $GENFUSE_CUDA_KERNELS, or where that is not set the cache directory's `cuda-built`

An index that is there is obeyed or refused, never passed over: a machine that was given binaries is not to compile.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from genfuse_kernels.common.cache_directory import cache_directory
from genfuse_kernels.common.cuda_kernel import Kernel, fingerprint
from genfuse_kernels.common.nvrtc import named

INDEX = "index.json"
FORMAT = 1
VARIABLE = "GENFUSE_CUDA_KERNELS"


class RefusedError(RuntimeError):
    """The folder is not what `genfuse build-cuda` of this genfuse makes; the message says what to do."""


class Binary(NamedTuple):
    """A file of the folder, and the SHA-256 of what is in it."""

    file: str
    sha256: str


class Built(NamedTuple):
    """What an index says; `kernels`: the binaries of each, by its name and by target."""

    folder: Path
    compiler: str
    targets: tuple[str, ...]
    kernels: dict[str, dict[str, Binary]]

    def target(self, capability: tuple[int, int]) -> str | None:
        """The best of the targets for a device; None where it can run none."""
        return best(self.targets, capability)

    def file(self, kernel: Kernel, capability: tuple[int, int]) -> Path:
        """The kernel's binary for a device. `RefusedError` where there is none, or it is not what was built."""
        of_kernel = self.kernels.get(str(kernel))
        if of_kernel is None:
            raise RefusedError(f"{kernel} is not among the kernels in {self.folder}; {_again(self.folder)}")
        target = self.target(capability)
        if target is None:
            raise RefusedError(self.misses(capability))
        binary = of_kernel[target]
        path = self.folder / binary.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RefusedError(f"{path} cannot be read ({error.strerror}); {_again(self.folder)}") from None
        if hashlib.sha256(content).hexdigest() != binary.sha256:
            raise RefusedError(f"{path} is not what was built: its hash differs; {_again(self.folder)}")
        return path

    def misses(self, capability: tuple[int, int]) -> str:
        """What to say where a device can run none."""
        return (
            f"the kernels in {self.folder} are for {', '.join(self.targets)}, the GPU has compute capability "
            f"{capability[0]}.{capability[1]}; {_again(self.folder, f' --targets sm_{capability[0]}{capability[1]}')}"
        )


def folder() -> Path:
    """Where they are looked for."""
    return Path(os.environ.get(VARIABLE) or cache_directory() / "cuda-built")


def found() -> Built | None:
    """What is there; None where nothing is, and nobody says that something should be. `RefusedError` as it says."""
    place = folder()
    if not os.environ.get(VARIABLE) and not (place / INDEX).exists():
        return None
    return read(place)


@functools.cache
def read(place: Path) -> Built:
    """The index of a folder. `RefusedError` where it cannot be read, or other sources were built."""
    path = place / INDEX
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusedError(f"{path} cannot be read ({error.strerror}); {_again(place)}") from None
    except ValueError:
        raise RefusedError(f"{path} is not what was written: it is no JSON; {_again(place)}") from None
    try:
        if whole["format"] != FORMAT:
            raise RefusedError(f"{path} has format {whole['format']}, expected {FORMAT}; {_again(place)}")
        targets, sources = tuple(map(str, whole["targets"])), whole["sources"]
        kernels = {
            name: {target: Binary(str(of[target]["file"]), str(of[target]["sha256"])) for target in targets}
            for name, of in whole["kernels"].items()
        }
        built = Built(place, str(whole["compiler"]), targets, kernels)
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{path} is not what was written: {error!r}; {_again(place)}") from None
    stale = [name for name in kernels if sources.get(name, "") != _fingerprints().get(name)]
    if stale:
        raise RefusedError(
            f"{place} was built from other sources than this genfuse has ({stale[0]}, {len(stale)} of "
            f"{len(kernels)} kernels); {_again(place)}"
        )
    return built


@functools.cache
def _fingerprints() -> dict[str, str]:
    from genfuse_kernels.cuda_kernels import kernels  # which knows every op, and this is a part of each

    return {str(kernel): fingerprint(kernel) for kernel in kernels()}


def best(targets: Iterable[str], capability: tuple[int, int]) -> str | None:
    """Machine code before PTX, newer before older.

    "sm_90a" runs on that device alone; "sm_80" also on later ones of its generation; PTX, "compute_90", on all later
    ones.
    """
    runs = [target for target in targets if _runs(target, capability)]
    return max(runs, key=lambda target: (target.startswith("sm_"), named(target), target), default=None)


def _runs(target: str, capability: tuple[int, int]) -> bool:
    of = named(target)
    if target.startswith("compute_"):
        return of <= capability
    if target.endswith("a"):
        return of == capability
    return of[0] == capability[0] and of <= capability


def _again(place: Path, options: str = "") -> str:
    return (
        f"run `genfuse build-cuda --output {place}{options}` again, or remove the folder and unset {VARIABLE}"
    )
