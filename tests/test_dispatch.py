"""Which backend runs: the rule, what `explain` says, forcing one, and strict mode."""

from __future__ import annotations

import importlib.util
import threading
from types import SimpleNamespace

import pytest
import torch

import genfuse
from genfuse import dispatch, env
from genfuse.errors import UnsupportedError
from genfuse.ops import philox_normal, sampler_reduce, sampler_step
from genfuse.ops.conv_launch import limits
from genfuse_kernels.conv_norm_act.settings import Settings
from ops.step_rows import CLIP, inputs, table

HAS_CPU = env.backend_missing("cpu") is None
CPU = torch.device("cpu")


@pytest.fixture
def without_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = env.backend_missing
    monkeypatch.setattr(
        env, "backend_missing", lambda name: "not built (test)" if name == "cpu" else missing(name)
    )


@pytest.mark.skipif(not HAS_CPU, reason="the compiled extension is not built here")
@pytest.mark.parametrize("op", dispatch.OPS)
def test_ours_comes_first_on_the_cpu(op: str) -> None:
    choice = genfuse.explain(op)
    assert choice.backend == "cpu" and choice.reason == f"first on cpu that can run {op} in torch.float32"
    assert choice.passed_over["aten"] == "cpu comes first on cpu"
    assert choice.passed_over["reference"] == "runs only when asked for by name"
    assert set(choice.passed_over) == set(dispatch.BACKENDS) - {"cpu"}


def test_aten_is_chosen_where_ours_cannot_run_and_named(without_cpu: None) -> None:
    choice = genfuse.explain("sampler_step", torch.zeros(2, dtype=torch.float64))
    assert choice.backend == "aten"
    assert choice.passed_over["cpu"] == "not built (test)"
    assert (
        str(choice).splitlines()[0]
        == "sampler_step: aten (first on cpu that can run sampler_step in torch.float64)"
    )
    assert "  not cpu: not built (test)" in str(choice).splitlines()
    assert sampler_step(torch.ones(2), None, torch.zeros(1, 32, dtype=torch.float64), 0).tolist() == [0, 0]


def test_explain_takes_the_ops_arguments() -> None:
    x = torch.zeros(2, 3, dtype=torch.bfloat16)
    assert "torch.bfloat16" in genfuse.explain("sampler_step", x, x, table(), 0).reason
    assert (
        "torch.float16"
        in genfuse.explain("philox_normal", torch.zeros(2, dtype=torch.int64), dtype=torch.float16).reason
    )
    assert genfuse.explain("sampler_step", x.to("meta")).backend == "aten"


def test_why_cuda_kernels_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be helped comes before what is to be installed."""
    from genfuse_kernels.common import nvrtc

    missing = env.backend_missing.__wrapped__  # what is known of this machine is kept
    find_spec = importlib.util.find_spec
    present = {"cupy": False}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: present[name] or None if name in present else find_spec(name),
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert missing("cuda") == "PyTorch sees no GPU; it is a CPU build"
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert missing("cuda") == "PyTorch sees no GPU; `genfuse doctor` says why"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(env, "incapable", env.incapable.__wrapped__)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (7, 5))
    assert missing("cuda") == "the GPU has compute capability 7.5, expected 8.0 or higher"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (8, 0))
    assert missing("cuda") == "CuPy is not installed; pip install 'genfuse[cuda12]'"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert missing("cuda") == "CuPy is not installed; pip install 'genfuse[cuda13]'"
    present["cupy"] = True
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    assert "NVRTC, which compiles the kernels, is not found" in missing("cuda")
    monkeypatch.setattr(nvrtc, "library", lambda: object())
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    assert missing("cuda") is None

    monkeypatch.setattr(env, "backend_missing", lambda name: None if name == "cuda" else "not here (test)")
    choice = dispatch.choose("sampler_step", torch.device("cuda"), torch.float32)
    assert choice.backend == "cuda" and choice.passed_over["triton"] == "not here (test)"
    assert "compiled here by NVRTC 13.0, launched through CuPy" in choice.reason
    assert dispatch.choose("linear", torch.device("cuda"), torch.float32).passed_over["cuda"] == (
        "no kernel for this op yet"
    )
    assert dispatch.obstacle("sampler_step", "cuda", CPU, torch.float32) == "x is on cpu, expected cuda"


def test_what_the_cuda_convolution_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left to Triton, or where that is missing to PyTorch's kernels, with the reason."""
    x, weight = torch.empty(2, 32, 9, 9, device="meta"), torch.empty(32, 32, 3, 3, device="meta")
    monkeypatch.setattr(env, "backend_missing", lambda name: "not here (test)" if name == "triton" else None)

    def chosen(weight: torch.Tensor, settings: Settings, gradients: bool = False) -> dispatch.Choice:
        why = limits(x, weight, settings, gradients)
        return dispatch.choose("conv_norm_act", torch.device("cuda"), torch.float16, gradients, why)

    assert chosen(weight, Settings(norm="group", activation="silu")).backend == "cuda"
    few = torch.empty(32, 4, 3, 3, device="meta")
    for of, settings, why in (
        (weight, Settings(dropout=0.1), "it has no dropout"),
        (weight, Settings(norm="layer_pixel"), "it has no norm over each pixel's channels"),
        (weight, Settings(pool=(2, 2)), "it does not pool"),
        (few, Settings(groups=8), "4 input and 4 output channels of a group are too few, expected 16"),
        (
            torch.empty(32, 32, 40, 40, device="meta"),
            Settings(padding=(40, 40)),
            "does not fit shared memory",
        ),
    ):
        choice = chosen(of, settings)
        assert choice.backend == "aten" and why in choice.passed_over["cuda"]
    assert chosen(weight, Settings(norm="group"), gradients=True).backend == "cuda"
    monkeypatch.setattr(env, "backend_missing", lambda name: None)
    assert chosen(weight, Settings()).backend == "triton"


@pytest.mark.parametrize("op", ["attention", "bias_act", "linear", "spectral_norm", "upfirdn2d"])
def test_what_has_gradients_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.setattr(env, "backend_missing", lambda name: None)
    assert dispatch.choose(op, torch.device("cuda"), torch.float16, gradients=True).backend == "triton"
    on_cpu = "aten" if op in ("attention", "linear") else "cpu"
    assert dispatch.choose(op, CPU, torch.float16, gradients=True).backend == on_cpu
    embedding = dispatch.choose("timestep_embedding", torch.device("cuda"), torch.float16, gradients=True)
    assert embedding.backend == "aten" and "no backward" in embedding.passed_over["triton"]


def test_strict_forbids_aten(without_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, 3)
    with genfuse.backend(strict=True):
        assert genfuse.explain("sampler_step", x).backend is None
        with pytest.raises(
            UnsupportedError, match=r"(?s)no permitted backend.*not aten: strict mode forbids"
        ):
            sampler_step(x, x, table(), CLIP, seeds=torch.tensor([1, 2]))
    assert genfuse.explain("sampler_step", x).backend == "aten"
    monkeypatch.setenv("GENFUSE_STRICT", "1")
    with pytest.raises(UnsupportedError, match="strict mode forbids"):
        philox_normal(torch.tensor([1]), (1, 4))
    with genfuse.backend(strict=False):
        philox_normal(torch.tensor([1]), (1, 4))
    monkeypatch.setenv("GENFUSE_STRICT", "0")
    philox_normal(torch.tensor([1]), (1, 4))


def test_strict_holds_on_the_autograd_and_compiled_paths(without_cpu: None) -> None:
    arguments = inputs()
    x, output = arguments.pop("x").requires_grad_(), arguments.pop("model_output")
    with genfuse.backend(strict=True), pytest.raises(UnsupportedError, match="strict mode forbids"):
        sampler_step(x, output, table(), CLIP, **arguments)
    with genfuse.backend(strict=True), pytest.raises(UnsupportedError, match="strict mode forbids"):
        sampler_reduce(x, output, table(), CLIP)


def test_a_forced_backend_runs_or_raises(without_cpu: None) -> None:
    with genfuse.backend("reference"):
        assert genfuse.explain("sampler_step").backend == "reference"
        assert genfuse.explain("sampler_step").passed_over["aten"] == "another backend is forced"
    with genfuse.backend("aten"):
        assert genfuse.explain("sampler_step").reason == "forced"
    for name, why in (
        ("cpu", "not built"),
        ("cuda", "CuPy is not installed|PyTorch sees no GPU|x is on cpu"),
    ):
        with genfuse.backend(name), pytest.raises(UnsupportedError, match=why):  # type: ignore[arg-type]
            philox_normal(torch.tensor([1]), (1, 4))


@pytest.mark.skipif(not HAS_CPU, reason="the compiled extension is not built here")
def test_a_kernel_is_not_asked_for_another_device() -> None:
    assert (
        dispatch.obstacle("sampler_step", "cpu", torch.device("cuda"), torch.float32)
        == "x is on cuda, expected cpu"
    )
    assert "dtype is torch.int32" in str(dispatch.obstacle("sampler_step", "cpu", CPU, torch.int32))


def test_blocks_nest_and_end() -> None:
    with genfuse.backend("reference"):
        with genfuse.backend("aten"):
            assert dispatch.forced() == "aten"
        with genfuse.backend(strict=True):
            assert dispatch.is_strict()
        assert dispatch.forced() == "reference"
        with pytest.raises(RuntimeError, match="inside"), genfuse.backend("aten"):
            raise RuntimeError("inside")
        assert dispatch.forced() == "reference" and not dispatch.is_strict()
    assert dispatch.forced() is None


def test_a_block_is_of_its_thread() -> None:
    seen: list[str | None] = []
    with genfuse.backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(dispatch.forced()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_unknown_names() -> None:
    with (
        pytest.raises(
            ValueError, match=r"backend is 'refrence', expected one of 'cpu', .*; did you mean 'reference'\?"
        ),
        genfuse.backend("refrence"),
    ):  # type: ignore[arg-type]
        pass
    with pytest.raises(TypeError, match="strict is 3, expected True or False"), genfuse.backend(strict=3):  # type: ignore[arg-type]
        pass
    with pytest.raises(TypeError, match="reproducible is 'no'"), genfuse.backend(reproducible="no"):  # type: ignore[arg-type]
        pass
    with pytest.raises(
        ValueError, match=r"op is 'sampler_stp', expected one of .*; did you mean 'sampler_step'\?"
    ):
        genfuse.explain("sampler_stp")


def test_required_backends(monkeypatch: pytest.MonkeyPatch, without_cpu: None) -> None:
    monkeypatch.setenv("GENFUSE_REQUIRE_BACKENDS", "")
    env.require_backends()
    monkeypatch.setenv("GENFUSE_REQUIRE_BACKENDS", "cpu, triton")
    with pytest.raises(RuntimeError, match=r"GENFUSE_REQUIRE_BACKENDS asks for 'cpu': not built"):
        env.require_backends()


def test_every_backend_of_every_op_is_there_and_takes_the_same_arguments() -> None:
    import inspect

    for op, backends in dispatch.OPS.items():
        wanted = set(inspect.signature(dispatch.launcher(op, "aten")).parameters) - {"inputs"}
        for name in backends:
            if env.backend_missing(name) is None:
                assert wanted <= set(inspect.signature(dispatch.launcher(op, name)).parameters), (op, name)


def test_a_kernel_runs_with_its_tensors_gpu_as_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton launches on the current GPU, whichever has the tensors."""
    current = [0]

    class Entered:
        def __init__(self, device: torch.device) -> None:
            self.number, self.before = device.index, current[0]

        def __enter__(self) -> None:
            current[0] = self.number

        def __exit__(self, *_: object) -> None:
            current[0] = self.before

    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "device", Entered)
    monkeypatch.setattr(env, "backend_missing", lambda name: None)
    monkeypatch.setattr(env, "incapable", lambda number: None)
    monkeypatch.setattr(dispatch, "launcher", lambda op, name: lambda: (name, current[0]))
    for number in (0, 1):
        device = torch.device("cuda", number)
        assert dispatch.select("norm_act", device, torch.float32)() == ("triton", number)  # type: ignore[func-returns-value]
        like = SimpleNamespace(device=device)
        for launch in (
            dispatch.chosen_launcher("norm_act", "triton", like),  # type: ignore[arg-type]
            dispatch.gradient_launcher("norm_act", "triton", dispatch.launcher("norm_act", "triton"), like),  # type: ignore[arg-type]
        ):
            assert launch() == ("triton", number)
        assert current == [0]
