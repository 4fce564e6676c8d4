"""diffusers' scheduler interface: configuration, noise, order of steps, errors, pipelines."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from genfuse import schedulers
from schedulers.peer import NAMES, ON_A_SCHEDULE, each, network, ours, peer_class, peers, start, trajectory

pytestmark = pytest.mark.filterwarnings("ignore:lower_order_final is False")

# --- configuration ---


@each
def test_constructor_has_the_peers_arguments_and_defaults(name: str) -> None:
    theirs = inspect.signature(peer_class(name).__init__).parameters
    mine = inspect.signature(getattr(schedulers, name).__init__).parameters
    expected = {n: p.default for n, p in theirs.items() if p.kind is not p.VAR_KEYWORD}
    own = {n: list(p.default) if p.default == () else p.default for n, p in mine.items()}
    assert own == expected
    assert ours(name).order == peer_class(name).order


@each
@pytest.mark.parametrize("method", ["step", "set_timesteps"])
def test_methods_have_the_peers_arguments(name: str, method: str) -> None:
    """Pipelines look into these signatures to decide what they pass."""
    theirs = list(inspect.signature(getattr(peer_class(name), method)).parameters)
    assert list(inspect.signature(getattr(getattr(schedulers, name), method)).parameters) == theirs


@each
def test_saved_configuration_loads_on_either_side(name: str, tmp_path: Path) -> None:
    changed = {"num_train_timesteps": 77, **({"beta_end": 0.03} if name in ON_A_SCHEDULE else {})}
    mine = ours(name, **changed)
    mine.save_pretrained(tmp_path / "ours")
    theirs = peer_class(name).from_pretrained(tmp_path / "ours")
    assert {n: theirs.config[n] for n in changed} == changed
    theirs.save_pretrained(tmp_path / "theirs")
    back = getattr(schedulers, name).from_pretrained(tmp_path / "theirs")
    written = json.loads(mine.to_json_string())
    assert {n: json.loads(back.to_json_string())[n] for n in written} == written
    saved = json.loads((tmp_path / "ours" / "scheduler_config.json").read_text())
    assert saved["_class_name"] == name


def test_configuration_of_one_class_carries_over_to_another() -> None:
    """As in diffusers: what was set is kept, through classes that do not know it; defaults are not."""
    ddim = ours("DDIMScheduler", num_train_timesteps=500, set_alpha_to_one=False)
    for library in (schedulers, diffusers):
        euler = library.EulerDiscreteScheduler.from_config(ddim.config, use_karras_sigmas=True)
        assert euler.config.num_train_timesteps == 500
        assert euler.config.timestep_spacing == "linspace"  # Euler's default, not DDIM's
        assert euler.config["use_karras_sigmas"] is True
        again = library.DDIMScheduler.from_config(euler.config)
        assert again.config.set_alpha_to_one is False
    peer = peers("DDIMScheduler", beta_schedule="scaled_linear")
    assert schedulers.DDPMScheduler.from_config(peer.config).config.beta_schedule == "scaled_linear"


def test_trained_betas_survive_saving(tmp_path: Path) -> None:
    betas = np.linspace(0.001, 0.02, 50)
    ours("DDIMScheduler", trained_betas=betas).save_config(tmp_path)
    loaded = schedulers.DDIMScheduler.from_pretrained(tmp_path)
    assert np.array_equal(loaded.config.trained_betas, betas)
    assert len(loaded.alphas_cumprod) == 50


def test_configuration_is_frozen() -> None:
    config = ours("DDPMScheduler").config
    assert config.beta_start == config["beta_start"] == 0.0001
    with pytest.raises(TypeError, match="frozen"):
        config["beta_start"] = 1.0
    with pytest.raises(AttributeError, match="beta_begin"):
        config.beta_begin  # noqa: B018


def test_compatibles_are_our_own_classes() -> None:
    compatibles = ours("DDIMScheduler").compatibles
    assert schedulers.EulerDiscreteScheduler in compatibles
    assert all(cls.__module__ == "genfuse.schedulers" for cls in compatibles)


@each
def test_is_a_scheduler_of_diffusers_where_that_is_installed(name: str) -> None:
    assert isinstance(ours(name), diffusers.SchedulerMixin)
    assert isinstance(ours(name), diffusers.ConfigMixin)


def test_works_without_diffusers() -> None:
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "import torch, genfuse.schedulers as s\n"
        "d = s.DDIMScheduler(); d.set_timesteps(3)\n"
        "x = torch.zeros(1, 3, 4, 4); x = d.step(x, d.timesteps[0], x).prev_sample\n"
        "assert torch.equal(x, torch.zeros(1, 3, 4, 4)); print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment())
    assert done.stdout.strip() == "done", done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@each
def test_copies_and_pickles_in_the_middle_of_a_run(name: str) -> None:
    """Pipelines copy their scheduler; the copy goes on from where the original stood."""
    scheduler, x = ours(name), start().float()
    scheduler.set_timesteps(6)
    scheduler.set_begin_index(0)
    x = scheduler.step(x, scheduler.timesteps[0], x, **_seeded(scheduler)).prev_sample
    for copied in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert copied.config == scheduler.config
        got = copied.step(x, copied.timesteps[1], x, **_seeded(copied)).prev_sample
        original = copy.deepcopy(scheduler)
        expected = original.step(x, original.timesteps[1], x, **_seeded(original)).prev_sample
        assert torch.equal(got, expected)


def _seeded(scheduler: Any) -> dict[str, Any]:
    takes = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": torch.Generator().manual_seed(8)} if takes else {}


# --- the forward process ---


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler"])
def test_add_noise_and_velocity_at_training_times(name: str) -> None:
    theirs, mine = peers(name), ours(name)
    theirs.alphas_cumprod = theirs.alphas_cumprod.double()
    x, noise, times = start(), torch.randn(start().shape, dtype=torch.float64), torch.tensor([3, 941])
    torch.testing.assert_close(mine.add_noise(x, noise, times), theirs.add_noise(x, noise, times))
    if name != "PNDMScheduler":
        torch.testing.assert_close(mine.get_velocity(x, noise, times), theirs.get_velocity(x, noise, times))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "FlowMatch" not in n and n not in ("DDIMInverseScheduler", "IPNDMScheduler")]
)
def test_add_noise_in_float32(name: str) -> None:
    theirs, mine = peers(name, num_train_timesteps=200), ours(name, num_train_timesteps=200)
    for scheduler in (theirs, mine):
        scheduler.set_timesteps(10)
    x, noise = start().float(), torch.randn(start().shape)
    times = mine.timesteps[[4, 8]]
    torch.testing.assert_close(
        mine.add_noise(x, noise, times), theirs.add_noise(x, noise, times), rtol=1e-5, atol=1e-5
    )


def test_velocity_at_a_sigma_is_the_variance_preserving_one() -> None:
    """diffusers' Euler reads alphas_cumprod at the step's number, not at its time; DDPM's is right."""
    euler, ddpm = ours("EulerDiscreteScheduler"), ours("DDPMScheduler")
    x, noise = start(), torch.randn(start().shape, dtype=torch.float64)
    for _ in range(2):
        got = euler.get_velocity(x, noise, torch.tensor([900.0, 12.0]))
    torch.testing.assert_close(
        got, ddpm.get_velocity(x, noise, torch.tensor([900, 12])), rtol=1e-6, atol=1e-6
    )


# --- noise without a generator ---


def test_manual_seed_decides_the_fused_noise() -> None:
    scheduler = ours("DDPMScheduler")

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        scheduler.set_timesteps(4)
        return trajectory(scheduler, start())

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_second_trajectory_draws_new_noise() -> None:
    scheduler = ours("EulerAncestralDiscreteScheduler")
    scheduler.set_timesteps(4)
    assert not torch.equal(trajectory(scheduler, start())[-2], trajectory(scheduler, start())[-2])


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "TCDScheduler"]
)
def test_a_row_that_is_taken_again_draws_new_noise(name: str) -> None:
    """RePaint steps a timestep several times, and goes back to earlier ones: each step has its own noise."""
    scheduler, x = ours(name), start()
    scheduler.set_timesteps(4)
    taken: dict[float, list[torch.Tensor]] = {}
    for row in (0, 1, 1, 1, 2, 1, 2, 0, 0, 1):
        timestep = scheduler.timesteps[row]
        scheduler.scale_model_input(x, timestep)
        taken.setdefault(row, []).append(scheduler.step(x, timestep, x).prev_sample)
    for again in taken.values():
        assert not any(torch.equal(*pair) for pair in combinations(again, 2))


def test_fused_noise_has_the_rows_variance() -> None:
    """x0 = 0 predicted from x = 0: what is left after a step is its noise alone."""
    scheduler = ours("DDPMScheduler", prediction_type="sample")
    scheduler.set_timesteps(50)
    x = torch.zeros(4, 3, 64, 64)
    noise = scheduler.step(x, scheduler.timesteps[20], x).prev_sample
    here, there = (scheduler.alphas_cumprod[t].item() for t in (580, 560))
    assert noise.std().item() == pytest.approx(
        ((1 - there) / (1 - here) * (1 - here / there)) ** 0.5, rel=0.02
    )
    assert abs(noise.mean().item()) < 0.01 * noise.std().item() * 4


def test_one_scheduler_takes_generators_and_seeds_by_turns() -> None:
    """Seeds of a fused run are not those of the next, whose batch may be another."""
    scheduler = ours("DDPMScheduler")
    scheduler.set_timesteps(4)
    trajectory(scheduler, start())
    generated = trajectory(scheduler, start()[:1], seed=3)
    scheduler.set_timesteps(4)
    assert torch.equal(trajectory(scheduler, start()[:1], seed=3), generated)


# --- steps in order ---


def test_output_reads_like_the_peers() -> None:
    scheduler, x = ours("DDIMScheduler"), start()
    scheduler.set_timesteps(5)
    output = scheduler.step(network(x, 800), 800, x, return_dict=False)
    prev_sample, original = output
    assert prev_sample is output[0] is output.prev_sample is output["prev_sample"]
    assert original is output[1] is output.pred_original_sample
    assert len(output) == 2
    pndm = ours("PNDMScheduler", skip_prk_steps=True)
    pndm.set_timesteps(5)
    assert len(pndm.step(x, pndm.timesteps[0], x)) == 1


def test_the_timestep_is_found_by_address_not_by_reading_it() -> None:
    """An element of `timesteps` on a GPU must not be read: its place in memory says which it is."""
    scheduler = ours("HeunDiscreteScheduler")
    scheduler.set_timesteps(4)
    rows = [scheduler._position(timestep) for timestep in scheduler.timesteps]
    assert rows == list(range(7))
    assert scheduler._position(scheduler.timesteps[3].clone()) is None
    assert scheduler._position(scheduler.timesteps[2:4]) is None


def test_python_numbers_and_copies_are_timesteps_too() -> None:
    def run(convert: Any) -> torch.Tensor:
        scheduler, x = ours("LMSDiscreteScheduler"), start()
        scheduler.set_timesteps(6)
        for timestep in scheduler.timesteps:
            x = scheduler.step(network(x, timestep), convert(timestep), x).prev_sample
        return x

    assert torch.equal(run(lambda t: t), run(float))
    assert torch.equal(run(lambda t: t), run(torch.clone))


def test_a_multistep_solver_restarts_at_its_first_step_only() -> None:
    scheduler = ours("LMSDiscreteScheduler")
    scheduler.set_timesteps(6)
    first = trajectory(scheduler, start())
    assert torch.equal(trajectory(scheduler, start()), first)
    with pytest.raises(ValueError, match=r"timestep is 799\.2.*in order"):
        scheduler.step(start(), scheduler.timesteps[1], start())


@each
def test_half_precision_and_mixed_dtypes(name: str) -> None:
    scheduler = ours(name)
    scheduler.set_timesteps(4)
    timestep = scheduler.timesteps[0]
    half = start().half()
    assert scheduler.step(half, timestep, half).prev_sample.dtype == torch.float16
    scheduler.set_timesteps(4)
    assert scheduler.step(half, scheduler.timesteps[0], half.float()).prev_sample.dtype == torch.float32


# --- errors ---


@each
def test_bad_arguments(name: str) -> None:
    cls = getattr(schedulers, name)
    with pytest.raises(TypeError, match="did you mean 'num_train_timesteps'"):
        cls(num_train_timestep=100)
    with pytest.raises(TypeError, match="did you mean 'num_train_timesteps'"):
        cls.from_config(cls().config, num_train_timestep=100)
    with pytest.raises(TypeError, match="expected a mapping"):
        cls.from_config("a/folder")
    with pytest.raises(OSError, match="local folder"):
        cls.from_pretrained("no/such/folder")
    if "prediction_type" in cls.config_names():
        with pytest.raises(ValueError, match="prediction_type is 'eps'"):
            cls(prediction_type="eps")
    with pytest.raises(ValueError, match="num_inference_steps"):
        cls().set_timesteps(0)


@pytest.mark.parametrize("name", ON_A_SCHEDULE)
def test_bad_schedules(name: str) -> None:
    cls = getattr(schedulers, name)
    with pytest.raises(ValueError, match=r"beta_schedule is 'liner'.*did you mean 'linear'"):
        cls(beta_schedule="liner")
    # LCM's and TCD's times are those of the distillation, whatever the spacing
    if "timestep_spacing" in cls.config_names() and name not in ("LCMScheduler", "TCDScheduler"):
        with pytest.raises(ValueError, match=r"timestep_spacing is 'trail'.*did you mean 'trailing'"):
            cls(timestep_spacing="trail").set_timesteps(5)
    with pytest.raises(ValueError, match="num_inference_steps is 1001, expected 1 to 1000"):
        cls().set_timesteps(1001)
    with pytest.raises(TypeError, match=r"num_inference_steps is 10\.0"):
        cls().set_timesteps(10.0)


@each
def test_bad_calls_of_step(name: str) -> None:
    cls, x = getattr(schedulers, name), start()
    if name not in ("DDPMScheduler", "DPMSolverSDEScheduler", "IPNDMScheduler"):  # those begin with all times
        with pytest.raises(ValueError, match="call set_timesteps before step"):
            cls().step(x, 999.0, x)
    scheduler = cls()
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match=r"timestep is 0\.25, expected one of"):
        scheduler.step(x, 0.25, x)
    with pytest.raises(ValueError, match=r"timestep has shape \(2,\)"):
        scheduler.step(x, scheduler.timesteps[:2], x)
    with pytest.raises(ValueError, match="begin_index is 500"):
        scheduler.set_begin_index(500)
    with pytest.raises((ValueError, TypeError), match="model_output"):
        scheduler.step(x[:1], scheduler.timesteps[0], x)


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_bad_timesteps(name: str) -> None:
    scheduler = ours(name)
    with pytest.raises(ValueError, match="descending"):
        scheduler.set_timesteps(timesteps=[3, 500, 10])
    with pytest.raises(ValueError, match="expected times in"):
        scheduler.set_timesteps(timesteps=[1000, 3])
    with pytest.raises(ValueError, match="exactly one"):
        scheduler.set_timesteps(5, timesteps=[3, 2])
    with pytest.raises(ValueError, match="exactly one"):
        scheduler.set_timesteps()


def test_bad_sigmas() -> None:
    scheduler = ours("EulerDiscreteScheduler")
    with pytest.raises(ValueError, match="sigmas is given beside"):
        scheduler.set_timesteps(timesteps=[5, 1], sigmas=[2.0, 0.0])
    with pytest.raises(ValueError, match="descending"):
        scheduler.set_timesteps(sigmas=[1.0, 2.0, 0.0])
    with pytest.raises(ValueError, match="both True"):
        ours("EulerDiscreteScheduler", use_karras_sigmas=True, use_beta_sigmas=True)
    with pytest.raises(ValueError, match="use_karras_sigmas"):
        ours("EulerDiscreteScheduler", use_karras_sigmas=True).set_timesteps(timesteps=[5, 1])


def test_bad_steps() -> None:
    x = start()
    ddim = ours("DDIMScheduler")
    ddim.set_timesteps(5)
    with pytest.raises(ValueError, match="eta is 2"):
        ddim.step(x, 0, x, eta=2.0)
    with pytest.raises(ValueError, match="at most one"):
        ddim.step(x, 0, x, eta=1.0, generator=torch.Generator(), variance_noise=x)
    with pytest.raises(ValueError, match="generator has 3 generators"):
        ddim.step(x, 800, x, eta=1.0, generator=[torch.Generator()] * 3)
    learned = ours("DDPMScheduler", variance_type="learned_range")
    with pytest.raises(ValueError, match="3 channels, expected 6"):
        learned.step(x, 5, x)
    with pytest.raises(ValueError, match="order is 7"):
        lms = ours("LMSDiscreteScheduler")
        lms.set_timesteps(5)
        lms.step(x, lms.timesteps[0], x, order=7)
    with pytest.raises(ValueError, match="expected at least 4"):
        ours("PNDMScheduler").set_timesteps(3)
    with pytest.raises(ValueError, match="is the int 1"):
        ours("EulerDiscreteScheduler").step(x, 1, x)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        zero = ours("DDIMScheduler", rescale_betas_zero_snr=True, timestep_spacing="trailing")
        zero.set_timesteps(5)
        zero.step(x, zero.timesteps[0], x)
