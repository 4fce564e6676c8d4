"""stylegan3's `torch_utils.ops` on genfuse's kernels: its names, arguments and defaults, nothing compiled at import."""

from genfuse.compat.stylegan import upfirdn2d

__all__ = ["upfirdn2d"]
