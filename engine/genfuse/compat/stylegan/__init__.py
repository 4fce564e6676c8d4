"""stylegan3's `torch_utils.ops` on genfuse's kernels: its names, arguments and defaults, nothing compiled at import."""

from genfuse.compat.stylegan import bias_act, upfirdn2d

__all__ = ["bias_act", "upfirdn2d"]
