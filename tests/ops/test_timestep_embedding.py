"""`timestep_embedding` against its definition and diffusers' function."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

import genfuse
from genfuse.ops import timestep_embedding
from genfuse_kernels.timestep_embedding import reference, spec


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("channels", [2, 3, 32, 129])
@pytest.mark.parametrize("flip", [False, True])
def test_against_the_definition(dtype: torch.dtype, channels: int, flip: bool) -> None:
    t = torch.tensor([0.0, 0.5, 1.0, 250.25, 999.0, 6e4]).to(dtype)
    options = {"flip_sin_to_cos": flip, "downscale_freq_shift": 0.5, "scale": 2.0, "max_period": 1e4}
    want = reference.timestep_embedding(t.double(), channels, flip, 0.5, 2.0, 1e4)
    out = timestep_embedding(t, channels, **options)  # type: ignore[arg-type]
    assert out.dtype == dtype and out.shape == (6, channels)
    assert ((out.double() - want).abs() <= spec.tolerance(dtype, 2 * float(t.double().max()))).all()


def test_against_diffusers() -> None:
    """Its angles are float32, ours float64: they differ by the rounding of the largest."""
    t = torch.tensor([0.0, 1.0, 250.25, 999.0])
    for flip, shift in ((False, 1.0), (True, 0.0)):
        theirs = get_timestep_embedding(t, 128, flip_sin_to_cos=flip, downscale_freq_shift=shift)
        ours = timestep_embedding(t, 128, flip_sin_to_cos=flip, downscale_freq_shift=shift)
        assert (ours - theirs).abs().max() <= 999 * 2**-22


def test_gradients_compile_and_batch() -> None:
    t = torch.tensor([0.3, 10.0, 500.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: timestep_embedding(u, 6), t)
    assert genfuse.explain("timestep_embedding", t).backend == "aten"
    t = t.detach().float()
    assert genfuse.explain("timestep_embedding", t).backend == "cpu"
    compiled = torch.compile(lambda u: timestep_embedding(u, 6), fullgraph=True)
    assert torch.equal(compiled(t), timestep_embedding(t, 6))
    torch.library.opcheck(torch.ops.genfuse.timestep_embedding.default, (t, 6, True, 0.0, 1.0, 10_000.0))
    assert torch.equal(timestep_embedding(t[1:2], 6), timestep_embedding(t, 6)[1:2])
    assert timestep_embedding(t[:0], 6).shape == (0, 6)
    assert timestep_embedding(torch.randn(8)[::2], 4).shape == (4, 4)


def test_bad_arguments() -> None:
    t = torch.ones(3)
    for arguments, options, words in (
        ((t[None], 4), {}, "t has shape"),
        ((t, 1), {}, "channels is 1"),
        ((t, 4), {"max_period": 0.0}, "max_period is 0.0"),
        ((t, 4), {"downscale_freq_shift": 2.0}, "downscale_freq_shift is 2.0"),
    ):
        with pytest.raises(ValueError, match=words):
            timestep_embedding(*arguments, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="t has dtype"):
        timestep_embedding(torch.ones(3, dtype=torch.int64), 4)
