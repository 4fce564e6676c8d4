"""`genfuse.diffusers.patch`: the same pictures, and after `unpatch` the very pipeline of before."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

import genfuse
from genfuse import schedulers
from schedulers.small_unet import unet


class LatentPipeline(diffusers.DiffusionPipeline):
    """Stable Diffusion's way from prompt embeddings to a picture, without its text encoder."""

    def __init__(self, vae: Any, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(vae=vae, unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(self, embeds: torch.Tensor, generator: torch.Generator) -> Any:
        self.scheduler.set_timesteps(3)
        x = torch.randn(1, 4, 8, 8, generator=generator) * self.scheduler.init_noise_sigma
        for t in self.scheduler.timesteps:
            both = self.scheduler.scale_model_input(torch.cat((x, x)), t)
            without, with_ = self.unet(both, t, encoder_hidden_states=embeds, return_dict=False)[0].chunk(2)
            x = self.scheduler.step(without + 5.0 * (with_ - without), t, x, return_dict=False)[0]
        return self.vae.decode(x / self.vae.config.scaling_factor, return_dict=False)[0].numpy()


def latent_pipeline(scheduler: Any) -> LatentPipeline:
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    return LatentPipeline(vae.eval(), network.eval(), scheduler)


def picture(pipe: Any) -> Any:
    """What a pipeline draws from seed 1."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(pipe, LatentPipeline):
        return pipe(torch.randn(2, 5, 8, generator=generator), generator)
    pipe.set_progress_bar_config(disable=True)
    return pipe(batch_size=2, num_inference_steps=3, output_type="np", generator=generator).images


PIPELINES = {
    "ddpm": lambda: diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler()),
    "ddim": lambda: diffusers.DDIMPipeline(unet(), diffusers.DDIMScheduler()),
    "latent": lambda: latent_pipeline(diffusers.DPMSolverMultistepScheduler()),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_draws_the_same_and_comes_out_again(kind: str) -> None:
    pipe = PIPELINES[kind]()
    before, parts, config = picture(pipe), dict(pipe.components), dict(pipe.config)
    decoder = pipe.vae.decoder if kind == "latent" else None
    networks = kind != "ddim"  # its U-Net is ddpm's
    patched = genfuse.diffusers.patch(pipe, networks=networks)
    assert patched.replaced == (
        "scheduler",
        *(("vae.decoder",) if decoder else ()),
        *(("unet",) if networks else ()),
    )
    assert type(pipe.scheduler).__module__ == "genfuse.schedulers"
    assert type(pipe.scheduler).__name__ == type(parts["scheduler"]).__name__
    assert (pipe.unet is not parts["unet"]) is networks
    assert next(pipe.unet.parameters()) is next(parts["unet"].parameters())
    got = picture(pipe)
    assert np.ptp(before) > 0.1
    np.testing.assert_allclose(got, before, atol=1e-4)
    assert not networks or pipe.unet.report().plans
    genfuse.diffusers.unpatch(pipe)
    assert all(pipe.components[name] is part for name, part in parts.items())
    assert dict(pipe.config) == config and (decoder is None or pipe.vae.decoder is decoder)
    np.testing.assert_array_equal(picture(pipe), before)


def test_as_a_context_manager_and_in_parts() -> None:
    pipe = PIPELINES["ddpm"]()
    scheduler, network = pipe.scheduler, pipe.unet
    with (
        pytest.raises(RuntimeError, match="within"),
        genfuse.diffusers.patch(pipe, networks=False) as patched,
    ):
        assert patched.replaced == ("scheduler",) and "networks is False" in repr(patched)
        assert pipe.unet is network and isinstance(pipe.scheduler, schedulers.DDPMScheduler)
        raise RuntimeError("within")
    assert pipe.scheduler is scheduler
    with genfuse.diffusers.patch(pipe, scheduler=False):
        assert pipe.scheduler is scheduler and pipe.unet is not network
        pipe.scheduler = own = schedulers.DDPMScheduler()  # the user's, since: it stays
        genfuse.diffusers.unpatch(pipe)
        assert pipe.unet is network
    assert pipe.scheduler is own
    with genfuse.diffusers.patch(pipe) as patched:
        assert "scheduler" in patched.left and pipe.scheduler is own


def test_refuses_before_anything_is_changed() -> None:
    class Mine(diffusers.DDPMScheduler):
        """A user's own solver."""

    pipe = diffusers.DDPMPipeline(unet(), Mine())
    parts = dict(pipe.components)
    with pytest.raises(genfuse.UnsupportedError, match=r"pipe.scheduler is 'Mine'.*scheduler=False"):
        genfuse.diffusers.patch(pipe)
    with pytest.raises(ValueError, match="accuracy is 'best'"):
        genfuse.diffusers.patch(pipe, scheduler=False, accuracy="best")  # type: ignore[arg-type]
    assert all(pipe.components[name] is part for name, part in parts.items())
    with pytest.raises(ValueError, match="not patched"):
        genfuse.diffusers.unpatch(pipe)
    with pytest.raises(TypeError, match="expected a pipeline"):
        genfuse.diffusers.patch(nn.Identity())
    with genfuse.diffusers.patch(pipe, scheduler=False), pytest.raises(ValueError, match="patched already"):
        genfuse.diffusers.patch(pipe)


def test_comes_when_asked_for() -> None:
    """`import genfuse` brings no diffusers; `genfuse.diffusers` is there, and can be imported from."""
    code = (
        "import sys, genfuse; assert 'diffusers' not in sys.modules; genfuse.diffusers.patch; genfuse.diffusers.patch;"
        "from genfuse.diffusers import unpatch; assert unpatch is genfuse.diffusers.unpatch;"
        "assert genfuse.compat.diffusers.patch is genfuse.diffusers.patch; assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
