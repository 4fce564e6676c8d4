"""Arrays that are slow to make, kept in the user's cache directory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genfuse.data.atomic import atomic_path
from genfuse_kernels.common.cache_directory import cache_directory, private_folder

Item = TypeVar("Item", bound=np.generic)


def cached_array(key: str, make: Callable[[], NDArray[Item]]) -> NDArray[Item]:
    """The array kept under ``key``, or ``make()``'s, kept for the next time.

    A file that cannot be read, or whose checksum (each array's CRC-32 in the archive) is not its content's, is made
    anew.
    """
    path = private_folder(cache_directory()) / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            kept: NDArray[Item] = archive["array"]
        return kept
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        array = make()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, array=array)
    return array
