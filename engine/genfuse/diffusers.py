"""`genfuse.diffusers.patch(pipe)`: the short name of `genfuse.compat.diffusers`."""

from genfuse.compat.diffusers import Patch, patch, unpatch

__all__ = ["Patch", "patch", "unpatch"]
