"""`Sampler`: a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.ops import philox_normal
from genfuse.samplers import Clip, Sampler, noise_schedule
from genfuse_kernels.philox_normal.spec import STREAM_FORWARD, STREAM_INIT

SHAPE = (3, 2, 4, 4)


UNDENSE: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse": Tensor.to_sparse,
    "mkldnn": torch.Tensor.to_mkldnn,
    "nested": lambda tensor: torch.nested.nested_tensor(list(tensor)),
    "jagged": lambda tensor: torch.nested.nested_tensor(list(tensor), layout=torch.jagged),
}


def run(sampler: Sampler, shape: tuple[int, ...] = SHAPE, **options: Any) -> Tensor:
    x = sampler.start(shape, **options)
    for i in range(len(sampler)):
        x = sampler.step(torch.tanh(x), i, x)
    return x


def test_start_is_the_noise_of_each_seed() -> None:
    start = Sampler("ddim", 5, seeds=[4, -1, 2**64 - 2]).start(SHAPE, dtype=torch.float64)
    expected = philox_normal(torch.tensor([4, -1, -2]), SHAPE, stream=STREAM_INIT, dtype=torch.float64)
    assert torch.equal(start, expected)
    counted = Sampler("ddim", 5, seeds=7).start(SHAPE)
    assert torch.equal(counted, Sampler("ddim", 5, seeds=torch.tensor([7, 8, 9])).start(SHAPE))


@pytest.mark.parametrize("first", [-2, 2**63 - 2, 2**63, 2**64 - 3])
def test_seeds_count_through_all_64_bits(first: int) -> None:
    signed = torch.tensor([(first + n + 2**63) % 2**64 - 2**63 for n in range(3)])
    starts = [Sampler("ddim", 5, seeds=seeds).start(SHAPE) for seeds in (first, signed)]
    assert torch.equal(*starts)


@pytest.mark.parametrize(
    "seeds",
    [np.int64(7), np.uint8(7), np.arange(7, 10), np.array([7, 8, 9], np.uint64), range(7, 10), [np.int32(7), 8, 9]],
    ids=repr,
)  # fmt: skip
def test_seeds_are_integers_of_any_kind(seeds: Any) -> None:
    assert torch.equal(Sampler("ddim", 5, seeds=seeds).start(SHAPE), Sampler("ddim", 5, seeds=7).start(SHAPE))


def test_step_is_ddims_formula() -> None:
    """x' = alpha'·x0 + sigma'·epsilon, in float64 from the schedule."""
    sampler, schedule = Sampler("ddim", 10, seeds=0), noise_schedule("linear")
    x = sampler.start(SHAPE, dtype=torch.float64)
    epsilon = torch.randn(SHAPE, dtype=torch.float64)
    assert sampler.timesteps.tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    for i, t in enumerate(sampler.timesteps.long().tolist()):
        signal = schedule.alphas_cumprod[t]
        following = schedule.alphas_cumprod[t - 100] if t >= 100 else 1.0
        x0 = (x - (1 - signal) ** 0.5 * epsilon) / signal**0.5
        expected = following**0.5 * x0 + (1 - following) ** 0.5 * epsilon
        x = sampler.step(epsilon, i, x)
        torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-12)


def test_out_is_written_and_returned() -> None:
    sampler = Sampler("dpmpp_2m", 5, seeds=0)
    x = sampler.start(SHAPE)
    expected = sampler.step(x.cos(), 0, x)
    out = torch.empty_like(x)
    assert sampler.step(x.cos(), 0, x, out) is out and torch.equal(out, expected)
    output = x.cos()
    assert sampler.step(output, 0, x, x) is x and torch.equal(x, expected)


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "unipc", "heun", "ddpm", "dpmpp_sde"])
def test_a_sampler_can_run_again(name: str) -> None:
    sampler = Sampler(name, 6, seeds=3)
    first = run(sampler)
    sampler.reset()
    assert torch.equal(run(sampler), first)
    sampler.reset(seeds=[5, 4, 3])
    assert torch.equal(run(sampler)[2], first[0])
    sampler.reset(seeds=3)
    assert torch.equal(run(sampler, (2, *SHAPE[1:])), first[:2])
    sampler.reset()
    wide = run(sampler, dtype=torch.float64)
    torch.testing.assert_close(wide, first.double(), rtol=1e-4, atol=1e-4)


def test_without_seeds_each_run_has_its_own_from_torchs_generator() -> None:
    sampler = Sampler("ddpm", 4)
    first = run(sampler)
    sampler.reset()
    assert not torch.equal(run(sampler), first)
    torch.manual_seed(0)
    assert torch.equal(run(Sampler("ddpm", 4)), first)


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde", "unipc"])
def test_a_sample_depends_on_its_own_seed_alone(name: str) -> None:
    """Bit for bit: batch position, batch size, thread count and memory format."""
    shape = (8, 3, 32, 33)
    whole = run(Sampler(name, 6, seeds=10), shape)
    for n in (0, 5):
        assert torch.equal(run(Sampler(name, 6, seeds=[10 + n]), (1, *shape[1:]))[0], whole[n])
    torch.set_num_threads(1)
    one_thread = run(Sampler(name, 6, seeds=10), shape)
    torch.set_num_threads(4)
    assert torch.equal(run(Sampler(name, 6, seeds=10), shape), one_thread)
    assert torch.equal(one_thread, whole)


def test_memory_format_is_kept_and_changes_nothing() -> None:
    plain = Sampler("dpmpp_2m_sde", 4, seeds=0)
    last = Sampler("dpmpp_2m_sde", 4, seeds=0)
    x = plain.start(SHAPE)
    y = x.contiguous(memory_format=torch.channels_last)
    for i in range(len(plain)):
        x = plain.step(x.tanh(), i, x)
        y = last.step(y.tanh(), i, y)
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, x, rtol=0, atol=0)


def test_memory_format_may_change_between_steps() -> None:
    steady, changing = (Sampler("dpmpp_3m", 6, seeds=0) for _ in range(2))
    x = y = steady.start(SHAPE)
    for i in range(len(steady)):
        x = steady.step(x.tanh(), i, x)
        output = y.tanh() if i % 2 else y.tanh().contiguous(memory_format=torch.channels_last)
        y = changing.step(
            output, i, y.contiguous(memory_format=torch.channels_last if i % 3 else torch.contiguous_format)
        )
        torch.testing.assert_close(y, x, rtol=1e-6, atol=1e-6)


def test_backends_agree() -> None:
    ours = run(Sampler("dpmpp_2m_sde", 5, seeds=0, clip=1.0), dtype=torch.float64)
    with genfuse.backend("reference"):
        reference = run(Sampler("dpmpp_2m_sde", 5, seeds=0, clip=1.0), dtype=torch.float64)
    torch.testing.assert_close(ours, reference, rtol=1e-11, atol=1e-11)


def test_guidance_mixes_the_two_outputs() -> None:
    guided = Sampler("ddim", 5, seeds=0, guidance=3.0)
    x = guided.start(SHAPE, dtype=torch.float64)
    conditional, free = torch.randn(2, *SHAPE, dtype=torch.float64)
    mixed = free + 3 * (conditional - free)
    expected = Sampler("ddim", 5, seeds=0).step(mixed, 0, x)
    torch.testing.assert_close(guided.step(conditional, 0, x, uncond=free), expected, rtol=1e-12, atol=1e-12)
    rescaled = Sampler("ddim", 5, seeds=0, guidance=3.0, guidance_rescale=0.7)
    factor = 0.7 * conditional.flatten(1).std(1) / mixed.flatten(1).std(1) + 0.3
    expected = Sampler("ddim", 5, seeds=0).step(mixed * factor.view(-1, 1, 1, 1), 0, x)
    torch.testing.assert_close(
        rescaled.step(conditional, 0, x, uncond=free), expected, rtol=1e-10, atol=1e-10
    )


def test_clip_and_threshold_keep_x0_in_range() -> None:
    x = torch.randn(SHAPE, dtype=torch.float64) * 5
    for clip, low, high in (
        (1.0, -1, 1),
        ((-0.5, 2.0), -0.5, 2.0),
        (Clip(quantile=0.9, threshold_max=1.0), -1, 1),
    ):
        sampler = Sampler("ddim", 1, seeds=0, prediction="sample", clip=clip)
        torch.testing.assert_close(sampler.step(x, 0, x), x.clamp(low, high), rtol=0, atol=0)


NUMBERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"guidance": np.float32(2)}, {"guidance": 2.0}),
    ({"guidance": Fraction(5, 2)}, {"guidance": 2.5}),
    ({"guidance": np.int64(3), "guidance_rescale": np.float32(0.5)}, {"guidance": 3.0, "guidance_rescale": 0.5}),
    ({"guidance_rescale": Fraction(1, 4)}, {"guidance_rescale": 0.25}),
    ({"clip": np.float32(1)}, {"clip": 1.0}),
    ({"clip": np.int64(1)}, {"clip": 1.0}),
    ({"clip": (np.float32(-1), Fraction(2))}, {"clip": (-1.0, 2.0)}),
    ({"clip": (-1, 10**400)}, {"clip": (-1.0, float("inf"))}),
    ({"strength": Fraction(1, 2)}, {"strength": 0.5}),
    ({"strength": np.float32(0.5)}, {"strength": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "plain"), NUMBERS, ids=[str(i) for i in range(len(NUMBERS))])
def test_numbers_are_of_any_kind(given: dict[str, Any], plain: dict[str, Any]) -> None:
    assert torch.equal(Sampler("ddim", 4, **given).table.rows, Sampler("ddim", 4, **plain).table.rows)


@pytest.mark.parametrize(
    ("name", "option"), [("ddim", "eta"), ("euler", "s_churn"), ("euler_ancestral", "eta")]
)
@pytest.mark.parametrize("value", [np.float32(0.3), Fraction(3, 10)], ids=repr)
def test_options_of_any_kind_keep_the_table_in_float64(name: str, option: str, value: Any) -> None:
    tables = [Sampler(name, 4, **{option: number}).table.rows for number in (value, float(value))]
    assert torch.equal(*tables)


def test_a_shape_is_ints_of_any_kind() -> None:
    sampler = Sampler("ddim", 4, seeds=0)
    assert torch.equal(sampler.start((np.int64(2), 3)), sampler.start((2, 3)))
    for shape in ((True, 3), (np.True_, 3), (2.0, 3)):
        with pytest.raises(TypeError, match=r"^shape is \(.*\), expected ints"):
            sampler.start(shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("heun", "linear"),
        ("dpm2", "linear"),
        ("dpm2_ancestral", "linear"),
        ("dpmpp_sde", "linear"),
        ("flow_heun", "flow"),
    ],
)
def test_the_second_call_of_a_step_starts_where_the_first_did(name: str, schedule: str) -> None:
    """What it is given is where the network was asked; an output that is the slope (or x0) itself needs no more."""
    generator = torch.Generator().manual_seed(0)
    x, first, second = torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64)
    ends = []
    for factor in (1.0, 1.5):
        prediction: Any = "sample" if name == "dpmpp_sde" else None
        sampler = Sampler(name, 4, schedule=schedule, prediction=prediction, seeds=0)
        ends.append(sampler.step(second, 1, sampler.step(first, 0, x) * factor))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_add_noise_is_the_forward_process() -> None:
    sampler, schedule = Sampler("ddim", 10), noise_schedule("linear")
    x0, seeds = torch.randn(SHAPE, dtype=torch.float64), torch.tensor([1, 2, 3])
    rows = torch.tensor([0, 9, 4])
    noisy = sampler.add_noise(x0, rows, seeds)
    for n, i in enumerate(rows.tolist()):
        signal = schedule.alphas_cumprod[int(sampler.timesteps[i])]
        noise = philox_normal(
            seeds[n : n + 1], (1, *SHAPE[1:]), row=i, stream=STREAM_FORWARD, dtype=torch.float64
        )[0]
        torch.testing.assert_close(noisy[n], signal**0.5 * x0[n] + (1 - signal) ** 0.5 * noise)
        assert torch.equal(sampler.add_noise(x0, i, seeds)[n], noisy[n])
    assert torch.equal(sampler.add_noise(x0[1:2], 9, seeds[1:2])[0], noisy[1])


def test_add_noise_beside_a_run_leaves_it_alone() -> None:
    expected = run(Sampler("ddpm", 4, seeds=3))
    sampler = Sampler("ddpm", 4, seeds=3)
    x = sampler.start(SHAPE)
    for i in range(len(sampler)):
        sampler.add_noise(torch.ones(7, 2), i)
        x = sampler.step(torch.tanh(x), i, x)
    assert torch.equal(x, expected)


def test_strength_runs_the_last_part() -> None:
    whole, part = Sampler("ddim", 10), Sampler("ddim", 10, strength=0.35)
    assert len(part) == 3 and torch.equal(part.timesteps, whole.timesteps[-3:])
    assert len(Sampler("ddim", 10, strength=0.01)) == 1


def test_grids() -> None:
    assert Sampler("ddim", timesteps=[900, 500.5, 10]).timesteps.tolist() == [900, 500.5, 10]
    karras = Sampler("euler", 8, sigmas="karras")
    ratio = karras.grid.sigma[:-1] / karras.grid.alpha[:-1]
    assert np.allclose(np.diff(ratio ** (1 / 7), n=2), 0, atol=1e-12) and karras.grid.sigma[-1] == 0
    assert np.allclose(Sampler("flow_euler", 4, schedule="flow").grid.sigma, [1, 0.75, 0.5, 0.25, 0])
    assert len(Sampler("heun", 5)) == 9


BAD_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"steps": 0}, ValueError, r"steps is 0, expected 1 to 1000"),
    ({"steps": 1001}, ValueError, r"steps is 1001, expected 1 to 1000: the schedule has no more timesteps"),
    ({"steps": 2.5}, TypeError, r"steps is 2.5 of type float, expected an int"),
    (
        {"schedule": "linaer"},
        ValueError,
        r"schedule is 'linaer', expected one of .*; did you mean 'linear'\?",
    ),
    ({"schedule": 3}, TypeError, r"schedule is int, expected a name, a NoiseSchedule or an EDM"),
    (
        {"prediction": "epsilo"},
        ValueError,
        r"prediction is 'epsilo', expected one of .*; did you mean 'epsilon'\?",
    ),
    (
        {"spacing": "trailng"},
        ValueError,
        r"spacing is 'trailng', expected one of .*; did you mean 'trailing'\?",
    ),
    ({"spacing": "leading", "sigmas": "karras"}, ValueError, r"spacing and sigmas are both given"),
    ({"schedule": "flow", "spacing": "leading"}, ValueError, r"spacing is 'leading', expected None: a flow"),
    ({"timesteps": [10, 500]}, ValueError, r"timesteps is \[10.0, 500.0\], expected strictly descending"),
    ({"timesteps": [1000, 5]}, ValueError, r"timesteps goes from 1000 to 5, expected times in \[0, 999\]"),
    ({"timesteps": []}, ValueError, r"timesteps has shape \(0,\), expected \(n,\)"),
    ({"timesteps": [float("nan"), 3]}, ValueError, r"timesteps is \[nan, 3.0\]"),
    ({"sigmas": "karas"}, ValueError, r"sigmas is 'karas', expected one of .*; did you mean 'karras'\?"),
    ({"sigmas": [1.0, 2.0]}, ValueError, r"sigmas is \[1.0, 2.0\], expected strictly descending"),
    ({"strength": 0.0}, ValueError, r"strength is 0.0, expected more than 0 and at most 1"),
    ({"strength": 1.5}, ValueError, r"strength is 1.5, expected more than 0 and at most 1"),
    ({"clip": -1.0}, ValueError, r"clip is -1.0, expected a positive number or \(low, high\)"),
    ({"clip": (2.0, 1.0)}, ValueError, r"clip is \(2.0, 1.0\), expected"),
    ({"clip": "x"}, TypeError, r"clip is 'x', expected None, a number, \(low, high\) or a Clip"),
    (
        {"clip": (True, 2)},
        TypeError,
        r"clip is \(True, 2\), expected None, a number, \(low, high\) or a Clip",
    ),
    ({"clip": (1, 2, 3)}, TypeError, r"clip is \(1, 2, 3\), expected None, a number"),
    ({"clip": np.True_}, TypeError, r"clip is .*True.*, expected None, a number"),
    ({"clip": np.float32("nan")}, ValueError, r"clip is .*nan.*, expected a positive number"),
    ({"guidance": 10**400}, ValueError, r"guidance is inf, expected a finite number"),
    ({"clip": Clip(quantile=1.5)}, ValueError, r"clip is Clip\(.*quantile=1.5.*quantile in \[0, 1\]"),
    ({"guidance": float("inf")}, ValueError, r"guidance is inf, expected a finite number"),
    ({"guidance_rescale": 2.0}, ValueError, r"guidance_rescale is 2.0, expected a number in \[0, 1\]"),
    ({"schedule": noise_schedule(rescale_betas_zero_snr=True)}, ValueError, r"zero terminal SNR"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("options", "error", "message"), BAD_OPTIONS, ids=[str(i) for i in range(len(BAD_OPTIONS))]
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sampler("ddim", **{"steps": 5, **options})


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        ([1, 2], ValueError, r"seeds has shape \(2,\), expected \(3,\): one seed a sample"),
        (torch.zeros(3), TypeError, r"seeds has dtype torch.float32, expected torch.int64"),
        ("abc", TypeError, r"seeds is str, expected an int, ints, or an int64 tensor \(3,\)"),
        (True, TypeError, r"seeds is bool, expected an int"),
        (
            torch.zeros(3, dtype=torch.int64, device="meta"),
            TypeError,
            r"seeds is on meta, which holds no values",
        ),
        (
            torch.ones(3, dtype=torch.int64).to_sparse(),
            TypeError,
            r"seeds has layout torch.sparse_coo, expected",
        ),
        (
            torch.nested.nested_tensor(list(torch.ones(3, 1).long())),
            TypeError,
            r"seeds has layout nested, expected",
        ),
        (np.zeros(3), TypeError, r"seeds is \[0.0, 0.0, 0.0\], expected ints"),
        (np.zeros((3, 1), np.int64), TypeError, r"seeds is \[\[0\], \[0\], \[0\]\], expected ints"),
        (np.arange(2), ValueError, r"seeds has shape \(2,\), expected \(3,\)"),
        (1.5, TypeError, r"seeds is float, expected an int"),
        (2**64, ValueError, r"seed is 18446744073709551616, expected 64 bits"),
    ],
)
def test_bad_seeds(seeds: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sampler("ddim", 5, seeds=seeds).start(SHAPE)
    with pytest.raises(error, match=message):
        Sampler("ddim", 5).add_noise(torch.zeros(SHAPE), 0, seeds)


def test_bad_steps_write_nothing() -> None:
    sampler = Sampler("dpmpp_2m_sde", 5, seeds=0, guidance=2.0)
    x = sampler.start(SHAPE)
    kept, good, out = x.clone(), torch.zeros(SHAPE), torch.full(SHAPE, 7.0)
    memory = torch.zeros(2 * x.numel())
    bad: list[tuple[tuple[Any, Any, Any, Any], dict[str, Any], type[Exception], str]] = [
        ((good[:1], 0, x, out), {}, ValueError, r"model_output has shape \(1, 2, 4, 4\), expected \(3, 2, 4, 4\) as x"),
        ((good.double(), 0, x, out), {}, TypeError, r"model_output has dtype torch.float64, expected torch.float32"),
        ((good.to("meta"), 0, x, out), {}, ValueError, r"model_output is on meta, expected cpu as x"),
        ((None, 0, x, out), {}, ValueError, r"model_output is None"),
        ((1.0, 0, x, out), {}, TypeError, r"model_output is float, expected a tensor like x"),
        ((good, 0, [1.0], out), {}, TypeError, r"x is list, expected a tensor \(N, ...\)"),
        ((good, 5, x, out), {}, ValueError, r"i is 5, expected a row of the table in \[0, 5\)"),
        ((good, -1, x, out), {}, ValueError, r"i is -1, expected a row of the table in \[0, 5\)"),
        ((good, 1.0, x, out), {}, TypeError, r"i is float, expected an int"),
        ((good, 2, x, out), {}, ValueError, r"i is 2, whose row reads what earlier rows store"),
        ((good, 0, x, out[:1]), {}, ValueError, r"out has shape \(1, 2, 4, 4\), expected \(3, 2, 4, 4\) as x"),
        ((good, 0, x, memory[1 : 1 + x.numel()].view(SHAPE)), {"uncond": memory[: x.numel()].view(SHAPE)}, ValueError,
         r"out overlaps"),
        ((good, 0, x, out), {"uncond": good.half()}, TypeError, r"uncond has dtype torch.float16"),
        ((good, 0, x, out), {"noise": good[0]}, ValueError, r"noise has shape \(2, 4, 4\)"),
        ((good.clone().requires_grad_(), 0, x, out), {}, UnsupportedError, r"writes in place and has no gradient"),
        ((good, 0, x, out), {"uncond": good.clone().requires_grad_()}, UnsupportedError, r"no gradient"),
    ]  # fmt: skip
    for arguments, others, error, message in bad:
        with pytest.raises(error, match=message):
            sampler.step(*arguments, **others)
        assert torch.equal(x, kept) and (out == 7).all()
    sampler.step(good, 0, x, out)
    assert not (out == 7).any()


def test_x_is_checked_before_its_seeds_are_made() -> None:
    for x, error, message in (
        ([1.0], TypeError, r"^x is list, expected a tensor \(N, ...\)"),
        (torch.tensor(1.0), ValueError, r"^x has shape \(\), expected \(N, ...\)"),
        (torch.zeros(SHAPE, device="meta"), TypeError, r"^x is on meta, which holds no values"),
    ):
        with pytest.raises(error, match=message):
            Sampler("ddpm", 4, seeds=0).step(torch.zeros(SHAPE), 0, x)  # type: ignore[arg-type]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", ["dpmpp_2m", "ddpm"])
@pytest.mark.parametrize("kind", sorted(UNDENSE))
def test_tensors_that_are_not_dense_are_named(kind: str, name: str, warm: bool) -> None:
    dense, undense = torch.zeros(SHAPE), UNDENSE[kind](torch.ones(SHAPE))
    for argument in ("x", "model_output", "uncond", "out"):
        sampler = Sampler(name, 4, seeds=0)
        if warm:
            sampler.step(dense, 0, dense)
        given: dict[str, Any] = {"x": dense, "model_output": dense, "i": int(warm)} | {argument: undense}
        with pytest.raises(TypeError, match=f"^{argument} has layout .*, expected a dense tensor"):
            sampler.step(**given)
    with pytest.raises(TypeError, match=r"^x0 has layout .*, expected a dense tensor"):
        sampler.add_noise(undense, 0)


def test_a_run_is_not_of_tensors_without_values() -> None:
    meta = torch.zeros(SHAPE, device="meta")
    sampler = Sampler("dpmpp_2m", 4, seeds=0)
    x = sampler.step(torch.zeros(SHAPE), 0, torch.zeros(SHAPE))
    for wrong in (meta, x):
        with pytest.raises(TypeError, match=r"^x is on meta, which holds no values"):
            sampler.step(wrong, 1, meta)
    with pytest.raises(TypeError, match=r"^x0 is on meta"):
        sampler.add_noise(meta, 1)
    sampler.step(x, 1, x)  # what the first row stored is still there


def test_a_run_may_not_change_its_shape() -> None:
    sampler = Sampler("dpmpp_2m", 5, seeds=0)
    x = sampler.start(SHAPE)
    x = sampler.step(x.cos(), 0, x)
    with pytest.raises(ValueError, match=r"i is 1, whose row reads what earlier rows store"):
        sampler.step(x[:2].cos(), 1, x[:2])
