"""Schedulers inside diffusers' pipelines: run, saved, loaded again."""

from __future__ import annotations

import pickle
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from genfuse import schedulers
from schedulers.peer import each, ours, peers
from schedulers.small_unet import unet


@pytest.mark.parametrize("pipeline", ["DDPMPipeline", "DDIMPipeline"])
def test_drops_into_a_pipeline(pipeline: str, tmp_path: Path) -> None:
    """The same generator, the same pictures, whichever library's scheduler the pipeline holds."""
    name = pipeline.replace("Pipeline", "Scheduler")
    pipe = getattr(diffusers, pipeline)(unet=unet(), scheduler=peers(name, beta_schedule="squaredcos_cap_v2"))
    pipe.set_progress_bar_config(disable=True)
    arguments = {"batch_size": 2, "num_inference_steps": 4, "output_type": "np"}
    if pipeline == "DDIMPipeline":
        arguments["eta"] = 0.5
    expected = pipe(generator=torch.Generator().manual_seed(1), **arguments).images
    pipe.scheduler = getattr(schedulers, name).from_config(pipe.scheduler.config)
    got = pipe(generator=torch.Generator().manual_seed(1), **arguments).images
    assert type(pipe.scheduler).__module__.startswith("genfuse.")
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.ptp(expected) > 0.1
    pipe.save_pretrained(tmp_path)
    given = getattr(schedulers, name).from_pretrained(tmp_path, subfolder="scheduler")
    for extra in ({}, {"scheduler": given}):
        back = getattr(diffusers, pipeline).from_pretrained(tmp_path, **extra)
        back.set_progress_bar_config(disable=True)
        # DDIMPipeline's constructor converts whatever it is given to diffusers' own DDIMScheduler
        assert isinstance(back.scheduler, getattr(schedulers, name)) is (pipeline == "DDPMPipeline")
        assert back.scheduler.config.beta_schedule == "squaredcos_cap_v2"
        again = back(generator=torch.Generator().manual_seed(1), **arguments).images
        np.testing.assert_allclose(again, expected, atol=2e-5)


@pytest.mark.parametrize(
    "name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "EulerDiscreteScheduler"]
)
def test_a_pipeline_that_steps_from_the_scaled_sample(name: str) -> None:
    """DiTPipeline hands step what scale_model_input gave it."""
    torch.manual_seed(0)
    shape = {
        "in_channels": 4,
        "out_channels": 8,
        "sample_size": 8,
        "patch_size": 2,
        "num_embeds_ada_norm": 1000,
    }
    network = diffusers.DiTTransformer2DModel(2, 8, num_layers=1, norm_num_groups=4, **shape).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    decoder = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4).eval()
    images = []
    for scheduler in (ours(name), peers(name)):
        pipe = diffusers.DiTPipeline(network, decoder, scheduler)
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(1)
        arguments = {"num_inference_steps": 5, "output_type": "np", "generator": generator}
        images.append(pipe(class_labels=[1], **arguments).images)
    assert np.ptp(images[1]) > 0.1
    np.testing.assert_allclose(*images, atol=1e-4)


@each
def test_is_found_by_module_and_name(name: str) -> None:
    """What a saved pipeline holds of its scheduler; SchedulerMixin there tells diffusers how to load it."""
    cls = getattr(schedulers, name)
    assert (cls.__module__, cls.__qualname__) == ("genfuse.schedulers", name)
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert (
        issubclass(cls, schedulers.SchedulerMixin) and schedulers.SchedulerMixin is diffusers.SchedulerMixin
    )


def test_pipelines_accept_ours_from_the_start() -> None:
    pipe = diffusers.DDPMPipeline(unet=unet(), scheduler=ours("DDPMScheduler"))
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, schedulers.DDPMScheduler)
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)
