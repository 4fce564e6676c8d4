"""stylegan3's `torch_utils.ops`, and the modulated convolutions of its networks, on genfuse's kernels.

Its names, arguments and defaults; nothing is compiled at import.
"""

from genfuse.compat.stylegan import bias_act, conv2d_resample, modulated_conv2d, upfirdn2d

__all__ = ["bias_act", "conv2d_resample", "modulated_conv2d", "upfirdn2d"]
