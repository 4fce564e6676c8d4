"""The command line as a user meets it: help, output, exit codes, one-sentence errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import genfuse
from genfuse import cli, dispatch, env, systems
from genfuse.nn.unet import UNetConfig
from genfuse.systems.ddpm import DDPM, DDPMConfig
from genfuse.train import checkpoint

HAS_CPU = env.backend_missing("cpu") is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of 8×8 pictures in two classes."""
    model = UNetConfig(
        num_classes=2, channels=(8, 16), attention_levels=(1,), embedding_channels=16, num_groups=4
    )
    system = DDPM(DDPMConfig(model=model), (3, 8, 8), ("cat", "dog"), seed=0)
    path = tmp_path_factory.mktemp("cli") / "small.safetensors"
    tensors = {f"ema.{name}": tensor for name, tensor in system.model.state_dict().items()}
    checkpoint.save(path, tensors, {**system.metadata(), "step": 0})
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("sample", "train", "systems", "tune", "explain", "doctor", "samplers"):
        assert command in result.output


def test_bench_joins_through_its_entry_point() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "genfuse", "bench", "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "sampler_step" in result.stdout


def test_sample_writes_a_grid_and_says_where_the_time_went(small: Path, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    picture.touch()  # one that is there is written over
    result = run("sample", small, "-n", "5", "--steps", "3", "--batch", "2", "-o", picture, "--scale", "1")
    assert result.exit_code == 0, result.output
    assert "pictures/s" in result.output and "sampler" in result.output
    assert Image.open(picture).size[0] >= 8


@pytest.mark.skipif(not HAS_CPU, reason="the compiled extension is not built here")
def test_tune_measures_what_sample_then_runs(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    result = run("tune", small, "--batch", "2")
    assert result.exit_code == 0, result.output
    assert "conv_norm_act" in result.output and "kinds of calls run faster than by rule" in result.output
    (kept,) = (tmp_path / "measured").iterdir()
    before = kept.read_bytes()
    picture = tmp_path / "grid.png"
    result = run("sample", small, "-n", "2", "--steps", "2", "-o", picture, "--no-reproducible")
    assert result.exit_code == 0, result.output
    assert kept.read_bytes() == before  # nothing was measured again
    assert run("tune", small, "--batch", "2", "--forget").exit_code == 0
    assert kept.read_bytes() != before
    assert run("tune", tmp_path / "none").exit_code == 2


def test_a_picture_depends_on_its_seed_and_not_on_the_batch(small: Path) -> None:
    from genfuse.systems import ddpm
    from genfuse.systems.sampling import sample_pictures

    system = ddpm.load(small)
    together = sample_pictures(system, 4, sampler="ddim", steps=3, seed=7, batch=4).images
    apart = sample_pictures(system, 4, sampler="ddim", steps=3, seed=7, batch=1).images
    # PyTorch's convolutions differ in the last bits between batch sizes; the noise does not
    assert torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sampler", "dpmpp_2mm"), "did you mean 'dpmpp_2m'"),
        (("--label", "cow"), "expected one of 'cat', 'dog'"),
        (("--steps", "1001"), "1000"),
        (("--device", "abacus"), "abacus"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    small: Path, arguments: tuple[str, str], said: str
) -> None:
    result = run("sample", small, *arguments, "-n", "1")
    assert result.exit_code == 2
    flat = " ".join(result.output.split())
    assert said in flat
    assert "Traceback" not in result.output


def test_a_broken_checkpoint_is_refused(small: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(small.read_bytes()[:-100])
    pickled = tmp_path / "pickled.pt"
    torch.save({"weights": torch.zeros(3)}, pickled)
    for path in (truncated, pickled, tmp_path / "absent.safetensors"):
        result = run("sample", path)
        assert result.exit_code == 2
        assert path.name in "".join(result.output.split())
        assert "Traceback" not in result.output


def test_systems_lists_them_and_their_settings() -> None:
    listed = run("systems")
    assert listed.exit_code == 0
    for name in systems.NAMES:
        assert name in listed.output
        one = run("systems", name)
        assert one.exit_code == 0 and "train.steps = " in one.output, one.output
    unknown = run("systems", "ddpn")
    assert unknown.exit_code == 2 and "did you mean 'ddpm'" in " ".join(unknown.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ddpn",), "system is 'ddpn', expected one of"),
        (("ddpm", "--set", "model.width=3"), "setting is 'model.width', expected one of"),
        (("ddpm", "--set", "model.num_blocks=x"), "model.num_blocks is 'x', expected a whole number"),
        (("ddpm", "--set", "train.step=3"), "did you mean 'train.steps'"),
        (("ddpm", "--prediction", "epsilo"), "did you mean 'epsilon'"),
        (("ddpm", "--config", "{folder}"), "cannot be read as TOML"),
        (("ddpm", "--data", "25-gausians"), "did you mean '25-gaussians'"),
        (("ddpm", "--data", "25-gaussians", "--size", "8"), "25-gaussians has no pictures"),
    ],
    ids=str,
)
def test_train_names_the_setting_at_fault(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    given = [argument.format(folder=tmp_path) for argument in arguments]
    data = [] if "--data" in given else ["--data", "digits"]
    result = run("train", *given, *data, "--steps", "1", "--run", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert said.replace(" ", "") in "".join(result.output.split())
    assert not (tmp_path / "run").exists()


def test_a_system_is_trained_and_sampled_by_its_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
    (tmp_path / "run.toml").write_text("width = 4\ncritic_steps = 2\n[train]\nbatch_size = 4\n")
    arguments = ("--data", "digits", "--run", tmp_path / "run", "--config", tmp_path / "run.toml")
    result = run("train", "cgan", *arguments, "--steps", "1", "--set", "width=8")
    assert result.exit_code == 0, result.output
    config = checkpoint.load(tmp_path / "run").metadata["config"]
    assert (config["width"], config["critic_steps"]) == (8, 2)
    assert run("train", "cgan", *arguments, "--steps", "2", "--set", "width=8", "--resume").exit_code == 0
    assert checkpoint.load(tmp_path / "run").step == 2

    picture = tmp_path / "grid.png"
    for option in (("--label", "3"), ("--interpolate",), ("--arithmetic",)):
        result = run("sample", tmp_path / "run", "-n", "20", "-o", picture, *option)
        assert result.exit_code == 0 and "pictures/s" in result.output, result.output
    assert Image.open(picture).width == 4 * 18 + 2
    refused = run("sample", tmp_path / "run", "--guidance", "2", "-o", picture)
    assert refused.exit_code == 2 and "--guidance is given, but samples of 'cgan'" in refused.output


def test_train_refuses_what_is_no_data(tmp_path: Path) -> None:
    result = run("train", "ddpm", "--data", tmp_path / "nothing", "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert "nothing" in "".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--seed", "99999999999999999999999"),
            "seed is 99999999999999999999999, expected a whole number in",
        ),
        (("--run", "{file}"), "run is {file}, which is a file, expected the name of a folder"),
        (("--run", "{file}/run"), "run is {file}/run, but {file} is no folder, expected a name in one"),
        (("--run", "/proc/run"), "run is /proc/run, but nothing can be written to /proc"),
    ],
    ids=str,
)
def test_train_names_the_argument_at_fault(small: Path, arguments: tuple[str, str], said: str) -> None:
    option, value = arguments
    result = run("train", "ddpm", "--data", "digits", "--steps", "1", option, value.format(file=small))
    assert result.exit_code == 2, result.output
    assert said.replace(" ", "") in "".join(result.output.split()).replace(str(small), "{file}")


def test_explain_and_doctor() -> None:
    result = run("explain", "sampler_step")
    assert result.exit_code == 0
    assert result.output.startswith("sampler_step:")
    assert "not reference" in result.output
    assert run("explain", "sampler_stepp").exit_code == 2
    doctor = run("doctor")
    assert doctor.exit_code == 0
    for word in ("instruction sets", "threads", "backend cpu", "torch"):
        assert word in doctor.output


def test_doctor_names_a_matrix_unit_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "instruction_sets", lambda: ["baseline", "avx512"])
    for flags, told in (("fpu amx_bf16 amx_tile", True), ("fpu avx512f", False)):
        monkeypatch.setattr(env, "_told", lambda field, flags=flags: flags)
        assert ("signal stack" in " ".join(run("doctor").output.split())) == told


def test_hints_keep_their_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra's name is what the hint is for: `rich` must not take it for markup."""
    monkeypatch.setattr(env, "backend_missing", lambda name: "pip install 'genfuse[triton]'")
    for command in (("doctor",), ("explain", "sampler_step")):
        assert "genfuse[triton]" in run(*command).output
    monkeypatch.setattr(dispatch, "choose", _missing_module)
    assert "genfuse[data]'" in run("explain", "sampler_step").output


def _missing_module(*_: object) -> None:
    raise ModuleNotFoundError("scikit-learn is not installed: pip install 'genfuse[data]'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scale", "100000"), "pixels, expected at most"),
        (("--output", "."), "output is ., which is a folder, expected the name of a file"),
        (("--output", "{file}/grid.png"), "is no folder, expected a name in one"),
        (("--output", "{pipe}"), "which is a device, a pipe or a socket, expected the name of a file"),
        (("--output", "/proc/x.png"), "output is /proc/x.png, but nothing can be written to /proc"),
    ],
)
def test_what_cannot_be_written_is_refused_before_sampling(
    small: Path, tmp_path: Path, arguments: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genfuse.systems.sampling.sample_pictures", _not_called)
    option, value = arguments
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = run("sample", small, "-n", "1", "--steps", "1", option, value.format(file=small, pipe=pipe))
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split()).replace(str(small), "{file}")
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "not enough memory"),
        (FloatingPointError("the loss is nan at step 3"), "the loss is nan at step 3"),
    ],
    ids=str,
)
def test_failures_of_the_machine_are_one_sentence(
    small: Path, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("genfuse.systems.sampling.sample_pictures", fail)
    result = run("sample", small)
    assert result.exit_code == 2 and said in " ".join(result.output.split())


def test_other_runtime_errors_are_not_hidden(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genfuse.systems.sampling.sample_pictures", _not_called)
    assert isinstance(run("sample", small).exception, RuntimeError)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dtype", "int8"), "dtype is 'int8', expected one of"),
        (("--device", "abacus"), "device is 'abacus'"),
    ],
)
def test_explain_refuses_what_no_op_takes(arguments: tuple[str, str], said: str) -> None:
    result = run("explain", "sampler_step", *arguments)
    assert result.exit_code == 2 and said in " ".join(result.output.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is here")
def test_explain_refuses_a_device_that_is_not_here() -> None:
    result = run("explain", "sampler_step", "--device", "cuda")
    assert result.exit_code == 2 and "which is not here" in " ".join(result.output.split())


def _not_called(*_: object, **__: object) -> None:
    raise RuntimeError("pictures were sampled")


def test_version_tells_how_it_was_built() -> None:
    result = run("--version")
    assert result.exit_code == 0, result.output
    facts = dict(line.split(": ", 1) for line in result.output.splitlines()[1:])
    assert result.output.splitlines()[0] == f"genfuse {genfuse.__version__}"
    assert facts["torch"] == torch.__version__
    if HAS_CPU:
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|not known", facts["commit"])
        assert re.search(r"\d+\.\d+", facts["compiler"])
        assert facts["instruction sets"].startswith("baseline")
