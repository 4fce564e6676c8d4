"""`genfuse.sample`: what the loop calls, gives back, refuses and allocates."""

# ruff: noqa: E501 (a bad call and its whole message stand on one line)

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import genfuse
from genfuse.samplers import Sampler, sample

SHAPE = (3, 2, 4, 4)


def network(x: Tensor, t: Tensor, scale: float = 1.0) -> Tensor:
    return torch.tanh(x * scale) * (t / 1000).to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def made(*arguments: Any, **options: Any) -> Tensor:
    samples = sample(*arguments, **options)
    assert isinstance(samples, Tensor)
    return samples


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "heun", "dpmpp_sde", "unipc"])
def test_the_loop_is_the_sampler_a_step_at_a_time(name: str) -> None:
    sampler = Sampler(name, 7, seeds=2)
    x = sampler.start(SHAPE)
    for i, t in enumerate(sampler.timesteps):
        x = sampler.step(network(x, t.float().expand(SHAPE[0])), i, x)
    assert torch.equal(made(network, SHAPE, sampler=name, steps=7, seeds=2), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_sample_depends_on_its_own_seed_alone(dtype: torch.dtype) -> None:
    whole = made(network, (8, 3, 5, 7), sampler="ddpm", steps=5, seeds=20, dtype=dtype)
    assert whole.dtype == dtype and whole.isfinite().all()
    for n in (0, 3, 7):
        assert torch.equal(
            made(network, (1, 3, 5, 7), sampler="ddpm", steps=5, seeds=[20 + n], dtype=dtype)[0], whole[n]
        )


def test_the_model_is_given_its_times() -> None:
    seen: list[Tensor] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        assert x.shape == SHAPE and not torch.is_grad_enabled()
        seen.append(t)
        return x

    made(model, SHAPE, sampler="heun", steps=3, seeds=0)
    assert all(t.shape == (3,) and t.dtype == torch.float32 for t in seen)
    assert [t[0].item() for t in seen] == [999, 666, 666, 332, 332]


def test_callback_and_trajectory() -> None:
    calls: list[tuple[int, float, Tensor]] = []
    x, trajectory = sample(
        network, SHAPE, steps=4, seeds=0, return_trajectory=True,
        callback=lambda row, t, x: calls.append((row, t, x.clone())),
    )  # fmt: skip
    assert len(trajectory) == 4 and torch.equal(trajectory[-1], x)
    assert [(row, t) for row, t, _ in calls] == [(0, 999.0), (1, 749.0), (2, 499.0), (3, 249.0)]
    assert all(torch.equal(kept, step) for (_, _, kept), step in zip(calls, trajectory, strict=True))
    assert torch.equal(made(network, SHAPE, steps=4, seeds=0), x)


def test_guidance_calls_the_model_twice_a_row_only_where_it_must() -> None:
    calls: list[float] = []

    def model(x: Tensor, t: Tensor, scale: float = 0.0) -> Tensor:
        calls.append(scale)
        return network(x, t, scale)

    options = {"sampler": "ddim", "steps": 2, "seeds": 0, "cond": {"scale": 2.0}}
    guided = made(model, SHAPE, guidance=3.0, uncond={"scale": 0.5}, **options)
    assert calls == [2.0, 0.5, 2.0, 0.5]
    calls.clear()
    made(model, SHAPE, guidance=3.0, **options)
    assert calls == [2.0, 0.0, 2.0, 0.0]
    for unguided in ({}, {"guidance": 1.0}, {"guidance": 1.0, "uncond": {"scale": 0.5}}):
        calls.clear()
        plain = made(model, SHAPE, **unguided, **options)
        assert calls == [2.0, 2.0]
    assert not torch.equal(plain, guided)

    def mixed(x: Tensor, t: Tensor) -> Tensor:
        return network(x, t, 0.5) + 3 * (network(x, t, 2.0) - network(x, t, 0.5))

    torch.testing.assert_close(
        guided, made(mixed, SHAPE, sampler="ddim", steps=2, seeds=0), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("variance_type", ["learned", "learned_range"])
def test_learned_variance_is_the_second_half_of_the_channels(variance_type: str) -> None:
    sampler = Sampler("ddpm", 4, seeds=1, variance_type=variance_type)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([network(x, t), torch.full_like(x, -0.25)], dim=1)

    x = sampler.start(SHAPE)
    for i, t in enumerate(sampler.timesteps):
        x = sampler.step(network(x, t.float().expand(3)), i, x, variance=torch.full_like(x, -0.25))
    assert torch.equal(made(model, SHAPE, sampler=sampler), x)
    with pytest.raises(
        ValueError, match=r"model returned shape \(3, 2, 4, 4\), expected \(3, 4, 4, 4\): x's channels"
    ):
        sample(network, SHAPE, sampler=sampler)


def test_starting_from_a_picture() -> None:
    picture = torch.rand(SHAPE) * 2 - 1
    kept = picture.clone()
    sampler = Sampler("ddim", 10, strength=0.3, seeds=5)
    noisy = sampler.add_noise(picture, 0)
    got, trajectory = sample(lambda x, t: torch.zeros_like(x), SHAPE, sampler="ddim", steps=10, seeds=5, init=picture,
                             strength=0.3, return_trajectory=True)  # fmt: skip
    assert len(trajectory) == 3 and torch.equal(picture, kept)
    torch.testing.assert_close(got, noisy / float(sampler.grid.alpha[0]))
    faint = made(
        lambda x, t: torch.zeros_like(x),
        SHAPE,
        sampler="ddim",
        steps=1000,
        seeds=5,
        init=picture,
        strength=0.001,
    )
    assert (faint - picture).abs().max() < 0.05
    assert made(network, SHAPE, steps=4, seeds=0, init=picture.double()).dtype == torch.float64


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "heun"])
def test_inpainting_keeps_the_picture_exactly(name: str) -> None:
    picture = torch.rand(SHAPE) * 2 - 1
    mask = torch.zeros(4, 4)
    mask[1:3, 2:] = 1
    got = made(network, SHAPE, sampler=name, steps=5, seeds=0, init=picture, mask=mask)
    inside = mask.bool().expand(SHAPE)
    assert torch.equal(got[~inside], picture[~inside])
    assert (got[inside] != picture[inside]).all()
    everything = made(network, SHAPE, sampler=name, steps=5, seeds=0, init=picture, mask=torch.ones(1))
    assert torch.equal(everything, made(network, SHAPE, sampler=name, steps=5, seeds=0, init=picture))


def test_a_given_sampler_runs_afresh_each_time() -> None:
    sampler = Sampler("dpmpp_2m_sde", 5, seeds=3)
    first = made(network, SHAPE, sampler=sampler)
    assert torch.equal(made(network, SHAPE, sampler=sampler), first)
    assert torch.equal(made(network, SHAPE, sampler=sampler, seeds=[5, 4, 3])[2], first[0])
    drawn = Sampler("ddim", 5)
    assert not torch.equal(made(network, SHAPE, sampler=drawn), made(network, SHAPE, sampler=drawn))


def test_progress_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = made(network, SHAPE, steps=3, seeds=0)
    assert capsys.readouterr().out == ""
    assert torch.equal(made(network, SHAPE, steps=3, seeds=0, progress=True), quiet)
    assert "sampling" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "ddpm", "heun"])
def test_the_loop_compiles_without_a_graph_break(name: str) -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(4, 2, 3, padding=1)
    )
    sampler = Sampler(name, 4, seeds=0)

    def loop(x: Tensor) -> Tensor:
        for i in range(len(sampler)):
            x = sampler.step(model(x), i, x)
        return x

    start = sampler.start(SHAPE)
    with torch.no_grad():
        expected = loop(start)
        sampler.reset()
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(loop, fullgraph=True, backend="aot_eager")(start), expected)


def test_sample_itself_compiles_without_a_graph_break() -> None:
    model = torch.nn.Conv2d(2, 2, 3, padding=1)
    sampler = Sampler("dpmpp_2m", 4, seeds=torch.arange(3))

    def run() -> Tensor:
        return made(lambda x, t: model(x), SHAPE, sampler=sampler)

    expected = run()
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(run, fullgraph=True, backend="aot_eager")(), expected)


def test_a_name_in_a_graph_is_refused_with_what_to_do() -> None:
    def run() -> Tensor:
        return made(lambda x, t: x.cos(), SHAPE, sampler="ddim", steps=3, seeds=0)

    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"make a genfuse.Sampler outside and pass that"):
        torch.compile(run, fullgraph=True, backend="aot_eager")()
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(run, backend="aot_eager")(), run())


class Allocations(TorchDispatchMode):
    """Bytes of every fresh tensor that PyTorch makes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        known = {
            t.untyped_storage().data_ptr() for t in (*args, *(kwargs or {}).values()) if isinstance(t, Tensor)
        }
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if (
                isinstance(tensor, Tensor)
                and tensor.is_cpu
                and tensor.untyped_storage().data_ptr() not in known
            ):
                self.sizes.append(tensor.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize(
    ("name", "buffers", "options"),
    [
        ("ddim", 1, {}),
        ("euler", 1, {}),
        ("ddpm", 1, {}),
        ("dpmpp_2m", 2, {}),
        ("heun", 2, {}),
        ("euler", 2, {"schedule": "edm"}),
        ("euler", 2, {"mask": torch.ones(16, 16)}),
    ],
)
def test_the_buffers_of_a_run_do_not_grow_with_its_steps(
    name: str, buffers: int, options: dict[str, Any]
) -> None:
    """Seen by PyTorch's dispatcher: the sample and the solver's history, and nothing of their size a step.

    One more holds what the network sees where that is scaled, or the picture noised to where a mask keeps it.
    """
    shape = (4, 3, 16, 16)
    output = torch.zeros(shape)
    picture = {"init": torch.ones(shape), "mask": options["mask"]} if "mask" in options else {}
    large = []
    for steps in (5, 30):
        sampler = Sampler(name, steps, seeds=0, schedule=options.get("schedule"))
        with Allocations() as allocations:
            made(lambda x, t: output, shape, sampler=sampler, **picture)
        large.append(
            sum(size for size in allocations.sizes if size >= output.numel() * 4) // (output.numel() * 4)
        )
    assert large == [buffers, buffers]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"model": 3}, TypeError, r"model is int, expected a callable"),
    ({"shape": 3}, TypeError, r"shape is 3, expected ints \(N, ...\)"),
    ({"shape": ()}, ValueError, r"shape is \(\), expected \(N, ...\)"),
    ({"shape": (2, -1)}, ValueError, r"shape is \(2, -1\), expected \(N, ...\) with no negative size"),
    ({"shape": (2, 1.5)}, TypeError, r"shape is \(2, 1.5\), expected ints"),
    ({"shape": (True, 3)}, TypeError, r"shape is \(True, 3\), expected ints"),
    ({"shape": (2**40, 2**40), "seeds": 0}, ValueError, r"shape is \(1099511627776, 1099511627776\), expected at most"),
    ({"shape": (1, 2**62, 8)}, ValueError, r"shape is \(1, 4611686018427387904, 8\), expected at most 2\*\*59 elements"),
    ({"shape": (0, 2**62, 8)}, ValueError, r"shape is \(0, 4611686018427387904, 8\), expected at most 2\*\*59 elements"),
    ({"sampler": "dpmp_2m"}, ValueError, r"sampler is 'dpmp_2m', expected one of .*; did you mean 'dpmpp_2m'\?"),
    ({"sampler": 3}, ValueError, r"sampler is 3, expected one of"),
    ({"steps": 0}, ValueError, r"steps is 0, expected 1 to 1000"),
    ({"steps": 1001}, ValueError, r"steps is 1001, expected 1 to 1000"),
    ({"seeds": [1, 2]}, ValueError, r"seeds has shape \(2,\), expected \(3,\): one seed a sample"),
    ({"seeds": 1.5}, TypeError, r"seeds is float, expected an int, ints, or an int64 tensor"),
    ({"schedule": "cosin"}, ValueError, r"schedule is 'cosin', expected one of"),
    ({"prediction": "v"}, ValueError, r"prediction is 'v', expected one of"),
    ({"cond": [1]}, TypeError, r"cond is list, expected a dict of the model's keyword arguments"),
    ({"uncond": 1}, TypeError, r"uncond is int, expected a dict"),
    ({"uncond": {}}, ValueError, r"uncond is given without guidance, expected its scale"),
    ({"callback": 1}, TypeError, r"callback is int, expected a callable"),
    ({"dtype": torch.int64}, TypeError, r"dtype is torch.int64, expected one of"),
    ({"init": torch.zeros(1)}, ValueError, r"init has shape \(1,\), expected shape \(3, 2, 4, 4\)"),
    ({"init": torch.zeros(SHAPE, dtype=torch.int64)}, TypeError, r"init has dtype torch.int64, expected float32"),
    ({"init": [1.0]}, TypeError, r"init is list, expected a tensor"),
    ({"init": torch.zeros(SHAPE, device="meta")}, TypeError, r"init is on meta, which holds no values"),
    ({"init": torch.zeros(SHAPE).to_sparse()}, TypeError, r"init has layout torch.sparse_coo, expected a dense tensor"),
    ({"init": torch.zeros(SHAPE), "mask": torch.ones(SHAPE, device="meta")}, TypeError, r"mask is on meta, which"),
    ({"init": torch.zeros(SHAPE), "mask": torch.ones(SHAPE).to_sparse()}, TypeError, r"mask has layout torch.sparse_coo"),
    ({"init": torch.zeros(SHAPE), "mask": torch.ones(SHAPE).to_mkldnn()}, TypeError, r"mask has layout torch._mkldnn"),
    ({"mask": torch.ones(1)}, ValueError, r"mask is given without init, expected a picture"),
    ({"strength": 0.5}, ValueError, r"strength is given without init, expected a picture"),
    ({"init": torch.zeros(SHAPE), "strength": 0.0}, ValueError, r"strength is 0.0, expected more than 0"),
    ({"init": torch.zeros(SHAPE), "mask": torch.ones(5)}, ValueError, r"mask has shape \(5,\), expected one that broadcasts"),
    ({"init": torch.zeros(SHAPE), "mask": 1}, TypeError, r"mask is int, expected a tensor that broadcasts"),
    ({"sampler": Sampler("ddim", 5), "guidance": 2.0}, ValueError, r"guidance is given beside a Sampler"),
    ({"sampler": Sampler("ddim", 5), "strength": 0.5}, ValueError, r"strength is given beside a Sampler"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "message"), BAD, ids=[f"{i}-{next(iter(b[0]))}" for i, b in enumerate(BAD)]
)
def test_bad_input_before_the_model_is_called(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    def model(x: Tensor, t: Tensor) -> Tensor:
        raise AssertionError("the model was called")

    arguments = {"model": model, "shape": SHAPE, "steps": 5} | changes
    with pytest.raises(error, match=message):
        sample(arguments.pop("model"), arguments.pop("shape"), **arguments)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda x, t: None, TypeError, r"model returned NoneType, expected a tensor like x \(3, 2, 4, 4\)"),
        (lambda x, t: x.to_sparse(), TypeError, r"what model returned has layout torch.sparse_coo, expected"),
        (lambda x, t: x.to_mkldnn(), TypeError, r"what model returned has layout torch._mkldnn, expected"),
        (lambda x, t: x.to("meta"), ValueError, r"model_output is on meta, expected cpu as x"),
        (
            lambda x, t: torch.nested.nested_tensor(list(x)),
            TypeError,
            r"what model returned has layout nested, expected a dense tensor like x \(3, 2, 4, 4\)",
        ),
        (
            lambda x, t: x[:1],
            ValueError,
            r"model returned shape \(1, 2, 4, 4\), expected \(3, 2, 4, 4\): as x",
        ),
        (
            lambda x, t: x.double(),
            TypeError,
            r"model returned dtype torch.float64, expected torch.float32 as x",
        ),
    ],
)
def test_a_model_that_returns_something_else(model: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sample(model, SHAPE, steps=5)


def test_public_names() -> None:
    assert genfuse.sample is sample and genfuse.Sampler is Sampler
    assert "dpmpp_2m" in genfuse.samplers.names()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"device": "cudaa"}, ValueError, "device is 'cudaa'"),
        ({"device": "meta"}, ValueError, "device is 'meta'"),
        ({"seeds": [1.5, 2]}, TypeError, "seeds is"),
        ({"seeds": [None, 1]}, TypeError, "seeds is"),
        ({"seeds": 2**64 - 1}, ValueError, "seeds is 18446744073709551615"),
        ({"strength": "a", "init": torch.zeros(2, 1, 4, 4)}, TypeError, "strength is 'a'"),
        ({"strength": None, "init": torch.zeros(2, 1, 4, 4)}, TypeError, "strength is None"),
        ({"guidance": "a"}, TypeError, "guidance is 'a'"),
        ({"clip": True}, TypeError, "clip is True"),
        ({"init": torch.zeros(2, 1, 4, 4), "mask": torch.full((4, 4), 0.5)}, ValueError, "mask has values"),
        (
            {"init": torch.zeros(2, 1, 4, 4), "mask": torch.full((4, 4), math.nan)},
            ValueError,
            "mask has values",
        ),
    ],
)
def test_every_error_names_its_argument(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        genfuse.sample(lambda x, t: x, (2, 1, 4, 4), steps=3, **options)


def test_errors_of_the_step_object_name_their_argument() -> None:
    for arguments, options, words in (
        (("ddim",), {"eta": "x"}, "eta is 'x'"),
        (("heun",), {"order": 0}, "this solver has no options"),
        (("euler",), {"timesteps": "karras"}, "timesteps is 'karras'"),
        (("euler",), {"timesteps": ["a"]}, "timesteps is ['a']"),
        (("euler",), {"sigmas": ["a", "b"]}, "sigmas is"),
    ):
        with pytest.raises(TypeError, match=re.escape(words)):
            genfuse.Sampler(*arguments, 3, **options)
    sampler = genfuse.Sampler("euler", 3)
    for shape in ((), (-1, 3), (2**30, 2**30)):
        with pytest.raises(ValueError, match="shape is"):
            sampler.start(shape)


def test_a_model_may_return_a_view_of_its_input() -> None:
    expected = sample(lambda x, t: x.transpose(2, 3).clone(), (2, 3, 4, 4), steps=3, seeds=0)
    got = sample(lambda x, t: x.transpose(2, 3), (2, 3, 4, 4), steps=3, seeds=0)
    assert isinstance(got, Tensor) and isinstance(expected, Tensor) and torch.equal(got, expected)


def test_add_noise_into_a_buffer_and_what_it_refuses() -> None:
    sampler, x = Sampler("ddim", 5, seeds=0), torch.ones(2, 3)
    out = torch.empty_like(x)
    assert sampler.add_noise(x, 2, out=out) is out and torch.equal(out, sampler.add_noise(x, 2))
    with pytest.raises(ValueError, match=r"^i is 5, expected a row of the table in \[0, 5\)"):
        sampler.add_noise(x, 5)
    with pytest.raises(ValueError, match=r"^i is 5, expected a row of the table in \[0, 5\)"):
        sampler.add_noise(x, torch.tensor([0, 5]))
    with pytest.raises(ValueError, match=r"^out has shape \(3,\)"):
        sampler.add_noise(x, 1, out=torch.empty(3))
