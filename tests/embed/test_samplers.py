"""Samplers in C: the loop around a model gives genfuse.sample's pictures bit for bit, and refuses what does not fit."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from embed import library
from embed.library import CError, CSampler, Shape, int64s, options_of, schedule_of
from genfuse.samplers.table import Clip

pytestmark = pytest.mark.skipif(library.LIBRARY is None, reason="libgenfuse.so is not built")

DTYPES = {
    torch.float32: library.FLOAT32,
    torch.float64: library.FLOAT64,
    torch.bfloat16: library.BFLOAT16,
    torch.float16: library.FLOAT16,
}
SIZES = (3, 4, 7, 9)
SEEDS = [5, -3, 2**62]
Model = Callable[[Tensor, float], Tensor]


def model(x: Tensor, t: Any, shift: float = 0.0) -> Tensor:
    """Any function of x and t, but one of each sample alone."""
    time_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32  # as sample gives it
    time = float(torch.as_tensor(t, dtype=time_dtype).reshape(-1)[0])
    return (x * 0.4 - torch.roll(x, 1, dims=-1) * 0.2 + (time / 2000 + shift)).to(x.dtype)


def c_sample(
    name: str,
    steps: int,
    dtype: torch.dtype,
    options: library.SamplerOptions | None = None,
    *,
    guided: bool = False,
    learned: bool = False,
    init: Tensor | None = None,
    seeds: list[int] = SEEDS,
    sizes: tuple[int, ...] = SIZES,
) -> Tensor:
    """The loop of genfuse.h's first page."""
    sampler = CSampler(name, steps, Shape.of(DTYPES[dtype], *sizes), options)
    x = torch.full(sizes, torch.nan, dtype=dtype)
    if init is None:
        sampler.call("begin", int64s(seeds), x)
    else:
        sampler.call("begin_from", int64s(seeds), init, x)
    times, scales = sampler.array("timesteps"), sampler.array("input_scale")
    for i, t in enumerate(times):
        seen = torch.empty_like(x)
        sampler.call("scale_input", i, x, seen)
        if scales[i] == 1:
            assert torch.equal(seen, x)
        if not guided and not learned:
            sampler.call("step", i, x, model(seen, t))
            continue
        tensors = {"x": x, "model_output": model(seen, t)}
        if guided:
            tensors["uncond"] = model(seen, t, 0.1)
        if learned:
            tensors["variance"] = model(seen, t, -0.3)
        sampler.step_with(i, **tensors)
    return x


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), (ours - theirs).abs().max()


@pytest.mark.parametrize("name", genfuse.samplers.names())
def test_a_run_is_pythons_bit_for_bit(name: str) -> None:
    dtype = list(DTYPES)[len(name) % 4]
    schedule = "flow" if name.startswith("flow") else "scaled_linear"
    options = options_of(schedule=schedule_of(name=schedule))
    ours = c_sample(name, 6, dtype, options)
    theirs = genfuse.sample(model, SIZES, sampler=name, steps=6, seeds=SEEDS, schedule=schedule, dtype=dtype)
    assert isinstance(theirs, Tensor)
    assert_same(ours, theirs)


def test_edm_scales_what_the_network_sees() -> None:
    options = options_of(schedule=schedule_of(name="edm"))
    for dtype in DTYPES:
        theirs = genfuse.sample(
            model, SIZES, sampler="euler", steps=5, seeds=SEEDS, schedule="edm", dtype=dtype
        )
        assert_same(c_sample("euler", 5, dtype, options), theirs)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_guidance_rescale_and_threshold(dtype: torch.dtype) -> None:
    options = options_of(guidance=5.0, guidance_rescale=0.7, clip_quantile=0.9, threshold_max=2.0)
    ours = c_sample("dpmpp_2m", 5, dtype, options, guided=True)
    sampler = genfuse.Sampler(
        "dpmpp_2m", 5, guidance=5.0, guidance_rescale=0.7, clip=Clip(quantile=0.9, threshold_max=2.0)
    )
    theirs = genfuse.sample(model, SIZES, sampler=sampler, seeds=SEEDS, uncond={"shift": 0.1}, dtype=dtype)
    assert_same(ours, theirs)  # type: ignore[arg-type]


def test_learned_variance() -> None:
    ours = c_sample("ddpm", 7, torch.float32, options_of([("variance_type", "learned_range")]), learned=True)
    sampler = genfuse.Sampler("ddpm", 7, variance_type="learned_range")

    def both(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([model(x, t), model(x, t, -0.3)], dim=1)

    theirs = genfuse.sample(both, SIZES, sampler=sampler, seeds=SEEDS)
    assert_same(ours, theirs)  # type: ignore[arg-type]


def test_from_a_picture() -> None:
    init = torch.linspace(-1, 1, 3 * 4 * 7 * 9).reshape(SIZES)
    ours = c_sample("euler_ancestral", 10, torch.float32, options_of(strength=0.5), init=init)
    theirs = genfuse.sample(
        model, SIZES, sampler="euler_ancestral", steps=10, seeds=SEEDS, init=init, strength=0.5
    )
    assert_same(ours, theirs)  # type: ignore[arg-type]


def test_channels_last_and_threads_and_batch_change_no_bit() -> None:
    whole = c_sample("dpmpp_2m_sde", 6, torch.float32)
    one = c_sample(
        "dpmpp_2m_sde", 6, torch.float32, options_of(threads=1), seeds=SEEDS[1:2], sizes=(1, *SIZES[1:])
    )
    assert_same(one[0], whole[1])
    sampler = CSampler("dpmpp_2m_sde", 6, Shape.of(library.FLOAT32, *SIZES))
    x = torch.empty(SIZES)
    sampler.call("begin", int64s(SEEDS), x)
    x = x.contiguous(memory_format=torch.channels_last)
    for i, t in enumerate(sampler.array("timesteps")):
        output = model(x, t)
        sampler.step_with(i, x=x, model_output=output, out=output)
        x = output
    assert_same(x.contiguous(), whole)


def test_samples_of_a_batch_on_different_steps() -> None:
    """Three requests join one after the other, and a fourth takes the place of the first that is done."""
    alone = {
        seed: c_sample("unipc", 5, torch.float32, seeds=[seed], sizes=(1, *SIZES[1:]))[0]
        for seed in (1, 2, 3, 4)
    }
    sampler = CSampler("unipc", 5, Shape.of(library.FLOAT32, *SIZES))
    times = sampler.array("timesteps")
    x, rows, waiting, done = torch.zeros(SIZES), [0, 0, 0], [4], dict[int, Tensor]()
    seeds = [1, 2, 3]
    for n, seed in enumerate(seeds):
        sampler.call("begin_sample", n, seed, x)
    rows = [0, 0, 0]
    late = [0, 2, 3]  # how often a place is begun anew before it goes on
    while len(done) < 4:
        output = torch.stack([model(x[n : n + 1], times[rows[n]])[0] for n in range(3)])
        sampler.step_with(0, rows=rows, x=x, model_output=output)
        for n in range(3):
            rows[n] += 1
            if late[n]:
                late[n] -= 1
                rows[n] = 0
                sampler.call("begin_sample", n, seeds[n], x)
            elif rows[n] == len(times):
                done.setdefault(seeds[n], x[n].clone())
                seeds[n], rows[n] = (waiting.pop() if waiting else seeds[n]), 0
                sampler.call("begin_sample", n, seeds[n], x)
    for seed, picture in done.items():
        assert_same(picture, alone[seed])


def test_add_noise_and_noise() -> None:
    sampler, theirs = CSampler("ddim", 8, Shape.of(library.FLOAT32, *SIZES)), genfuse.Sampler("ddim", 8)
    x0, noisy = torch.rand(SIZES), torch.empty(SIZES)
    sampler.call("add_noise", 3, int64s(SEEDS), x0, noisy)
    assert_same(noisy, theirs.add_noise(x0, 3, SEEDS))
    assert library.LIBRARY is not None
    for dtype, code in DTYPES.items():
        out = torch.empty(SIZES, dtype=dtype).permute(0, 3, 1, 2)
        shape = Shape.of(code, *out.shape)
        tensor = library.Tensor.of(out)
        library.check(
            library.LIBRARY.genfuse_noise(
                ctypes.byref(shape), int64s(SEEDS), ctypes.c_int64(7), 2, 0, ctypes.byref(tensor)
            )
        )
        seeds = torch.tensor(SEEDS)
        assert_same(
            out,
            genfuse.ops.philox_normal(seeds, tuple(out.shape), row=7, stream=2, dtype=dtype),
        )


def test_threads_with_samplers_of_their_own() -> None:
    expected = [c_sample("euler_ancestral", 8, torch.float32, seeds=[n, n + 1, n + 2]) for n in range(8)]
    found: list[Tensor | None] = [None] * 8

    def run(n: int) -> None:
        for _ in range(3):
            found[n] = c_sample("euler_ancestral", 8, torch.float32, seeds=[n, n + 1, n + 2])

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert_same(ours, theirs)


def refused(match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(CError, match=match) as caught:
        call()
    assert caught.value.status == library.INVALID_ARGUMENT


def test_what_does_not_fit_is_named() -> None:
    refused("sampler is 'eular', expected one of ddim", lambda: CSampler("eular", 4))
    refused("steps is 1001, expected 1 to 1000", lambda: CSampler("ddim", 1001))
    refused("axes", lambda: CSampler("ddim", 4, Shape(0, 17)))
    refused("negative", lambda: CSampler("ddim", 4, Shape.of(0, 2, -1)))
    refused("2\\*\\*59", lambda: CSampler("ddim", 4, Shape.of(0, 2**40, 2**40)))
    refused("dtype", lambda: CSampler("ddim", 4, Shape.of(9, 2)))
    refused("prediction is 'noise'", lambda: CSampler("ddim", 4, options=options_of(prediction="noise")))
    refused("'eta' is 2", lambda: CSampler("ddim", 4, options=options_of([("eta", 2.0)])))
    refused(
        "'order' is given, expected one of eta",
        lambda: CSampler("ddim", 4, options=options_of([("order", 2)])),
    )
    refused("no options", lambda: CSampler("heun", 4, options=options_of([("order", 2)])))
    refused(
        "'order' is 1.5, expected a whole", lambda: CSampler("deis", 4, options=options_of([("order", 1.5)]))
    )
    refused("'order' is '2', expected", lambda: CSampler("deis", 4, options=options_of([("order", "2")])))
    refused("guidance is nan", lambda: CSampler("ddim", 4, options=options_of(guidance=float("nan"))))
    refused("strength is 0", lambda: CSampler("ddim", 4, options=options_of(strength=0.0)))
    refused(
        "more than one of",
        lambda: CSampler("ddim", 4, options=options_of(spacing="leading", sigmas="karras")),
    )
    refused("clip is 1", lambda: CSampler("ddim", 4, options=options_of(clip_minimum=1.0, clip_maximum=-1.0)))
    refused(
        "num_train_timesteps is 0", lambda: CSampler("ddim", 4, options=_with_schedule(num_train_timesteps=0))
    )
    refused(
        "schedule is 'cosine', expected", lambda: CSampler("ddim", 4, options=_with_schedule(name="cosine"))
    )
    refused(
        "a beta of the schedule is 1.00", lambda: CSampler("ddim", 4, options=_with_schedule(beta_end=2.0))
    )
    refused("schedule is EDM's", lambda: CSampler("tcd", 4, options=_with_schedule(name="edm")))
    refused(
        "sigma_max is 1",
        lambda: CSampler("euler", 4, options=_with_schedule(name="edm", sigma_min=2.0, sigma_max=1.0)),
    )
    refused("genfuse_sampler_options.size is 1", lambda: CSampler("ddim", 4, options=options_of(size=1)))
    zero = _with_schedule(name="linear", zero_terminal_snr=1)
    refused("zero terminal SNR", lambda: CSampler("ddim", 4, options=zero))


def _with_schedule(**fields: Any) -> library.SamplerOptions:
    return options_of(schedule=schedule_of(**fields))


def test_steps_that_do_not_fit_change_nothing() -> None:
    sampler = CSampler("dpmpp_2m", 4, Shape.of(library.FLOAT32, 2, 6))
    x, output = torch.ones(2, 6), torch.ones(2, 6)
    refused("has not begun", lambda: sampler.call("step", 0, x, output))
    refused("seeds is NULL", lambda: sampler.call("begin", None, x))
    sampler.call("begin", int64s([1, 2]), x)
    kept = x.clone()
    refused(r"i is 4, expected a row of the table in \[0, 4\)", lambda: sampler.call("step", 4, x, output))
    refused("i is -1", lambda: sampler.call("step", -1, x, output))
    refused("row 1 reads what earlier rows store", lambda: sampler.call("step", 1, x, output))
    refused("model_output is absent", lambda: sampler.call("step", 0, x, None))
    refused("x is absent", lambda: sampler.call("step", 0, None, output))
    refused("row of the table", lambda: sampler.step_with(0, rows=[0, 9], x=x, model_output=output))
    buffer = torch.ones(3, 6)
    refused(
        "out overlaps model_output",
        lambda: sampler.step_with(0, x=x, model_output=buffer[:2], out=buffer[1:]),
    )
    assert torch.equal(x, kept) and torch.equal(buffer, torch.ones(3, 6))
    sampler.call("step", 0, x, output)
    sampler.call("step", 1, x, output)
    sampler.call("begin", int64s([1, 2]), None)
    refused("row 1 reads", lambda: sampler.call("step", 1, x, output))
    refused("n is 2, expected a sample of the batch", lambda: sampler.call("begin_sample", 2, 0, x))
    with pytest.raises(CError, match="no CUDA kernels") as caught:
        sampler.call("step_cuda", 0, None, None)
    assert caught.value.status == library.UNSUPPORTED


def test_an_empty_batch() -> None:
    for sizes in ((0, 3), (2, 0, 4)):
        sampler = CSampler("dpmpp_2m", 3, Shape.of(library.FLOAT32, *sizes))
        sampler.call("begin", int64s([1, 2]), None)
        for i in range(3):
            sampler.call("step", i, None, None)


def test_an_older_callers_structures() -> None:
    """A structure that ends before a field has that field's default."""
    options = options_of(guidance=2.0, strength=0.5)
    options.size = library.SamplerOptions.strength.offset
    assert len(CSampler("ddim", 10, options=options)) == 10
    options.size = ctypes.sizeof(options)
    assert len(CSampler("ddim", 10, options=options)) == 5


def test_names() -> None:
    assert library.LIBRARY is not None
    names = [library.LIBRARY.genfuse_sampler_name(i) for i in range(-1, 100)]
    assert [n.decode() for n in names if n is not None] == list(genfuse.samplers.names())
    assert library.LIBRARY.genfuse_version().decode() == genfuse.__version__
