"""DPM-Solver, EDM DPM-Solver++ and UniPC beside diffusers' own classes.

diffusers runs in float64 from the sigmas it rounded to float32 (`float64_inside`); 1e-6 is asked for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse import schedulers
from schedulers.against_diffusers import SHAPE, float64_inside, pseudo_model
from schedulers.peer import Case, sampled

diffusers = pytest.importorskip("diffusers")
diffusers.logging.set_verbosity_error()

TOLERANCE = 1e-6
AS_IT_STANDS = 1e-5
"""Where diffusers' float32 coefficients and, in the multistep class, float32 samples are left as they are."""

STEPS = (5, 20, 50)
SPACINGS = ("linspace", "leading", "trailing")
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
    {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
    {"use_flow_sigmas": True},
)
THRESHOLD = {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.5}
OPEN_END = {"open_end": True}
"""The last two nodes are one, or the last has no noise: there diffusers divides 0 by 0 or has 0·infinity."""
DATA, NOISE = ("dpmsolver++", "sde-dpmsolver++"), ("dpmsolver", "sde-dpmsolver")


def multistep_cases() -> Iterator[Case]:
    kinds = (*KINDS, {"use_lu_lambdas": True}, {"use_lu_lambdas": True, "rescale_betas_zero_snr": True})
    for algorithm, order, solver, prediction, spacing, beta, kind, steps, clip in product(
        (*DATA, *NOISE),
        (1, 2, 3),
        ("midpoint", "heun"),
        ("epsilon", "v_prediction", "sample"),
        SPACINGS,
        ("linear", "squaredcos_cap_v2"),
        kinds,
        STEPS,
        ({}, THRESHOLD),
    ):
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta}
        config = {**config, **kind, **clip, "solver_order": order, "solver_type": solver}
        if algorithm == "sde-dpmsolver" and order == 3:
            continue  # diffusers has no such update
        if algorithm in NOISE and config["prediction_type"] == "flow_prediction":
            continue  # refused by both
        if algorithm in NOISE and "use_flow_sigmas" in kind and clip and prediction == "v_prediction":
            continue  # diffusers' x0 and epsilon of a v on flow nodes do not belong together
        config["lambda_min_clipped"] = -5.1 if beta == "squaredcos_cap_v2" else -float("inf")
        finals = ("zero", "sigma_min") if algorithm in DATA else ("sigma_min",)
        for final in finals:
            one_node = final == "sigma_min" and kind and "use_flow_sigmas" not in kind
            open_end = one_node and (solver == "heun" or order == 3 or algorithm.startswith("sde"))
            yield Case(
                "DPMSolverMultistepScheduler",
                {**config, "algorithm_type": algorithm, "final_sigmas_type": final},
                steps,
                OPEN_END if open_end else {},
                stochastic=algorithm.startswith("sde"),
            )


def singlestep_cases() -> Iterator[Case]:
    for algorithm, order, solver, prediction, kind, steps, clip, lower in product(
        ("dpmsolver", *DATA),
        (1, 2, 3),
        ("midpoint", "heun"),
        ("epsilon", "v_prediction", "sample"),
        KINDS,
        STEPS,
        ({}, THRESHOLD),
        (True, False),
    ):
        config = {"prediction_type": prediction, **kind, **clip, "solver_order": order, "solver_type": solver}
        noise = algorithm == "dpmsolver"
        if noise and (clip or config["prediction_type"] == "flow_prediction"):
            continue  # diffusers reads a table at timestep None, and refuses the flow
        config["lower_order_final"] = lower
        for final in ("sigma_min",) if noise else ("zero", "sigma_min"):
            yield Case(
                "DPMSolverSinglestepScheduler",
                {**config, "algorithm_type": algorithm, "final_sigmas_type": final},
                steps,
                stochastic=algorithm.startswith("sde"),
            )


def inverse_cases() -> Iterator[Case]:
    for algorithm, order, prediction, spacing, kind, steps in product(
        ("dpmsolver", "dpmsolver++"),
        (1, 2, 3),
        ("epsilon", "v_prediction", "sample"),
        SPACINGS,
        KINDS[:4],
        STEPS,
    ):
        open_end = (kind or spacing == "trailing") and order == 3
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "solver_order": order, **kind}
        config["algorithm_type"] = algorithm
        yield Case("DPMSolverMultistepInverseScheduler", config, steps, OPEN_END if open_end else {})


def edm_cases() -> Iterator[Case]:
    for algorithm, order, solver, prediction, kind, final, steps, clip in product(
        DATA,
        (1, 2, 3),
        ("midpoint", "heun"),
        ("epsilon", "v_prediction"),
        ("karras", "exponential"),
        ("zero", "sigma_min"),
        STEPS,
        ({}, THRESHOLD),
    ):
        if algorithm == "sde-dpmsolver++" and order == 3:
            continue  # diffusers has no such update
        config = {"algorithm_type": algorithm, "solver_order": order, "solver_type": solver, **clip}
        config |= {"prediction_type": prediction, "sigma_schedule": kind, "final_sigmas_type": final}
        stochastic = algorithm.startswith("sde")
        options = OPEN_END if final == "sigma_min" and (solver == "heun" or order == 3 or stochastic) else {}
        yield Case("EDMDPMSolverMultistepScheduler", config, steps, options, stochastic=stochastic)


def unipc_cases() -> Iterator[Case]:
    terminal = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "shift_terminal": 0.1}
    karras_flow = {"use_karras_sigmas": True, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    kinds = (*KINDS, terminal, karras_flow, {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 9.0})
    for x0, order, solver, prediction, spacing, kind, steps, clip, lower, off in product(
        (True, False),
        (1, 2, 3),
        ("bh1", "bh2"),
        ("epsilon", "v_prediction", "sample"),
        SPACINGS,
        kinds,
        STEPS,
        ({}, THRESHOLD),
        (True, False),
        ([], [0, 2]),
    ):
        config = {"prediction_type": prediction, "timestep_spacing": spacing, **kind, **clip}
        config |= {"solver_order": order, "solver_type": solver, "predict_x0": x0, "lower_order_final": lower}
        if not x0 and (config["prediction_type"] == "flow_prediction" or "use_flow_sigmas" in kind):
            continue  # refused by both, or the first node has next to no signal to divide by
        for final in ("zero", "sigma_min"):
            config = {**config, "final_sigmas_type": final, "disable_corrector": off}
            plain_end = (final == "sigma_min" and not kind) or (
                final == "zero" and x0 and solver == "bh2" and lower
            )
            if order == 3 and not (lower or plain_end):
                continue  # diffusers' own matrix is singular at the last step
            yield Case("UniPCMultistepScheduler", config, steps, {} if plain_end else OPEN_END)


def pair(name: str, config: dict[str, Any], *nodes: Any, **named: Any) -> tuple[Any, Any]:
    """(ours, diffusers') with the same nodes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = getattr(schedulers, name)(**config), getattr(diffusers, name)(**config)
        ours.set_timesteps(*nodes, **named)
        theirs.set_timesteps(*nodes, **named)
    assert ours.timesteps.dtype == theirs.timesteps.dtype
    assert torch.equal(ours.timesteps, theirs.timesteps)
    assert float(ours.init_noise_sigma) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas.float(), rtol=3e-7, atol=0.0)
    return ours, theirs


def run(
    scheduler: Any,
    *,
    begin: int = 0,
    seed: int | None = None,
    dtype: torch.dtype = torch.float64,
    **step: Any,
) -> list[Tensor]:
    """The samples after each step. The multistep class is given its noise: it draws in float32 otherwise."""
    # where times repeat, the time alone starts at the second
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    else:
        scheduler._step_index = begin  # diffusers' inverse class
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    given = type(scheduler).__name__ == "DPMSolverMultistepScheduler"
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(7)).to(dtype)
    x, samples = x * float(scheduler.init_noise_sigma), []
    for t in scheduler.timesteps[begin:]:
        output = pseudo_model(scheduler.scale_model_input(x, t), float(t))
        if generator is not None and given:
            step["variance_noise"] = torch.randn(SHAPE, dtype=dtype, generator=generator)
        elif generator is not None:
            step["generator"] = generator
        x = scheduler.step(output, t, x, **step).prev_sample
        samples.append(x)
    return samples


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """Largest of any step, as a share of that step's largest element."""
    assert len(got) == len(expected)
    assert all(bool(torch.isfinite(x).all()) for x in expected), "the peer's own trajectory is not finite"
    errors = [
        float((a.double() - b.double()).abs().max() / b.double().abs().max())
        for a, b in zip(got, expected, strict=True)
    ]
    assert all(error == error for error in errors), "our trajectory is not finite"
    return max(errors)


def check(case: Case, *, begin: int = 0, exact: bool = True) -> float:
    ours, theirs = pair(case.name, case.config, case.steps)
    seed = 3 if case.stochastic else None
    with float64_inside(theirs) if exact else contextlib.nullcontext():
        expected = run(theirs, begin=begin, seed=seed)
    got = run(ours, begin=begin, seed=seed)
    if case.options.get("open_end"):
        assert bool(torch.isfinite(got.pop()).all())
        expected.pop()
    error = difference(got, expected)
    assert error <= (TOLERANCE if exact else AS_IT_STANDS)
    return error


@pytest.mark.parametrize("case", sampled(multistep_cases(), 40), ids=str)
def test_multistep(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(singlestep_cases(), 30), ids=str)
def test_singlestep(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(inverse_cases(), 20), ids=str)
def test_inverse(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(edm_cases(), 25), ids=str)
def test_edm(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(unipc_cases(), 40), ids=str)
def test_unipc(case: Case) -> None:
    check(case)


BEGUN = (
    ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverSinglestepScheduler", {"solver_order": 2, "lower_order_final": True}),
    ("DPMSolverSinglestepScheduler", {"solver_order": 3, "lower_order_final": True}),
    ("DPMSolverSinglestepScheduler", {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}),
    ("EDMDPMSolverMultistepScheduler", {"solver_order": 3}),
    ("UniPCMultistepScheduler", {"solver_order": 3}),
)


@pytest.mark.parametrize(("name", "config"), BEGUN)
@pytest.mark.parametrize("begin", [1, 2, 3, 7])
def test_begins_in_the_middle(name: str, config: dict[str, Any], begin: int) -> None:
    """Image-to-image: the warm-up is where the run starts."""
    check(Case(name, config, 10, stochastic="algorithm_type" in config), begin=begin)


@pytest.mark.parametrize(("name", "config"), BEGUN)
def test_as_diffusers_stands(name: str, config: dict[str, Any]) -> None:
    """Its float32 coefficients, and in the multistep class float32 samples, left as they are."""
    for steps in (5, 20):
        check(Case(name, config, steps, stochastic="algorithm_type" in config), exact=False)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True}),
        ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_generator_gives_the_same_noise(name: str, config: dict[str, Any], dtype: torch.dtype) -> None:
    """The same draws in the same order: the generators end alike too."""
    schedulers_ = pair(name, config, 12)
    results, states = [], []
    for scheduler in schedulers_:
        generator = torch.Generator().manual_seed(11)
        x = torch.ones(SHAPE, dtype=dtype) * float(scheduler.init_noise_sigma)
        for t in scheduler.timesteps:
            output = pseudo_model(scheduler.scale_model_input(x, t), float(t))
            x = scheduler.step(output, t, x, generator=generator).prev_sample
        results.append(x)
        states.append(torch.rand(1, generator=generator))
    assert difference(results[:1], results[1:]) <= AS_IT_STANDS
    assert torch.equal(states[0], states[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"]
)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_folding_amplifies_no_rounding(name: str, order: int, dtype: torch.dtype) -> None:
    """Recovered samples cost no accuracy: at most twice diffusers' own error (root mean square)."""
    ours, theirs = pair(name, {"solver_order": order, "lower_order_final": True}, 20)
    start = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).to(dtype)

    def end(scheduler: Any, x: Tensor) -> Tensor:
        for t in scheduler.timesteps:
            x = scheduler.step(pseudo_model(x, float(t)), t, x).prev_sample
        return x.double()

    got, peer = end(ours, start), end(theirs, start)
    theirs.set_timesteps(20)
    with float64_inside(theirs):
        exact = end(theirs, start.double())
    ours_error, peer_error = ((x - exact).square().mean().sqrt() for x in (got, peer))
    assert 0 < ours_error <= 2 * peer_error


def test_learned_variance_is_left_out() -> None:
    """diffusers cuts the output at three channels."""
    for name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        ours, theirs = pair(name, {"variance_type": "learned_range", "lower_order_final": True}, 6)
        x = y = torch.randn(SHAPE)
        for t in ours.timesteps:
            variance = torch.full(SHAPE, torch.nan)
            x = ours.step(torch.cat([pseudo_model(x, float(t)), variance], 1), t, x).prev_sample
            y = theirs.step(torch.cat([pseudo_model(y, float(t)), variance], 1), t, y).prev_sample
        assert difference([x], [y]) <= AS_IT_STANDS


def test_nodes_given_by_the_user() -> None:
    times = [950, 600, 321, 77, 5]
    for name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        ours, theirs = pair(name, {"lower_order_final": True}, timesteps=times)
        with float64_inside(theirs):
            expected = run(theirs)
        assert difference(run(ours), expected) <= TOLERANCE
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    ours, theirs = pair("UniPCMultistepScheduler", flow, sigmas=np.array([1.0, 0.7, 0.45, 0.1]))
    with float64_inside(theirs):
        expected = run(theirs)
    assert difference(run(ours), expected) <= TOLERANCE


@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"]
)
@pytest.mark.parametrize("shift", [{"mu": 0.8}, {"mu": 1.4}])
def test_dynamic_shifting(name: str, shift: dict[str, float]) -> None:
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    ours, theirs = pair(name, {**flow, "lower_order_final": True}, 9, **shift)
    with float64_inside(theirs):
        expected = run(theirs)
    assert difference(run(ours), expected) <= TOLERANCE


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_zero_terminal_snr(name: str) -> None:
    config = {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    }
    check(Case(name, config, 20))


@pytest.mark.parametrize(
    "name",
    [
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EDMDPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_add_noise(name: str) -> None:
    """To the level of a timestep, and to that of the step which is due."""
    ours, theirs = pair(name, {}, 10)
    generator = torch.Generator().manual_seed(5)
    x0, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    times = ours.timesteps[[0, 4]]
    torch.testing.assert_close(ours.add_noise(x0, noise, times), theirs.add_noise(x0, noise, times))
    for scheduler in (ours, theirs):
        scheduler.set_begin_index(4)
    torch.testing.assert_close(ours.add_noise(x0, noise, times), theirs.add_noise(x0, noise, times))


CLASSES = (
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)


@pytest.mark.parametrize("name", CLASSES)
def test_configuration_is_diffusers(name: str) -> None:
    """The same arguments with the same defaults, the same times until set_timesteps chooses."""
    ours, theirs = getattr(schedulers, name)(), getattr(diffusers, name)()
    own = {key: list(v) if isinstance(v, tuple) else v for key, v in ours.config.items() if key[0] != "_"}
    assert own == {key: value for key, value in theirs.config.items() if key[0] != "_"}
    assert ours.timesteps.dtype == theirs.timesteps.dtype
    torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-6, atol=1e-5)
    assert ours.order == theirs.order
    assert len(ours) == len(theirs)
    assert float(ours.init_noise_sigma) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "final_sigmas_type is 'zero'"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpm"}, "algorithm_type is 'dpm'"),
        ("DPMSolverMultistepScheduler", {"solver_order": 4}, "order is 4"),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_beta_sigmas": True},
            "use_karras_sigmas and use_beta_sigmas are both True",
        ),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_flow_sigmas": True},
            "use_flow_sigmas is True beside karras sigmas",
        ),
        ("DPMSolverMultistepInverseScheduler", {"algorithm_type": "sde-dpmsolver++"}, "algorithm_type is"),
        ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver"}, "algorithm_type is"),
        ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "algorithm_type is"),
        ("UniPCMultistepScheduler", {"solver_p": object()}, "solver_p is a object, expected None"),
        ("UniPCMultistepScheduler", {"shift_terminal": 0.1}, "shift_terminal is 0.1"),
        (
            "UniPCMultistepScheduler",
            {"predict_x0": False, "prediction_type": "flow_prediction"},
            "prediction_type is 'flow_prediction'",
        ),
    ],
)
def test_bad_configurations(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(schedulers, name)(**config)


def test_bad_nodes() -> None:
    multistep, unipc = schedulers.DPMSolverMultistepScheduler(), schedulers.UniPCMultistepScheduler()
    with pytest.raises(ValueError, match="expected exactly one of them"):
        multistep.set_timesteps(5, timesteps=[3, 2])
    with pytest.raises(ValueError, match="strictly descending times"):
        multistep.set_timesteps(timesteps=[3, 3])
    with pytest.raises(ValueError, match=r"mu is 0\.5, expected None"):
        multistep.set_timesteps(5, mu=0.5)
    with pytest.raises(ValueError, match="sigmas is given, expected None"):
        unipc.set_timesteps(sigmas=[1.0, 0.5])
    with pytest.raises(ValueError, match="num_inference_steps is 1001"):
        unipc.set_timesteps(1001)


def test_uneven_singlestep_warns() -> None:
    scheduler = schedulers.DPMSolverSinglestepScheduler(final_sigmas_type="sigma_min")
    with pytest.warns(UserWarning, match="5 steps of order 2"):
        scheduler.set_timesteps(5)
    assert scheduler.config.lower_order_final


@pytest.mark.parametrize("other", ["use_exponential_sigmas", "use_beta_sigmas", "use_karras_sigmas"])
def test_lus_nodes_beside_those_of_another_kind(other: str) -> None:
    """Neither side refuses the two: Lu's go before all but Karras'."""
    config = {"use_lu_lambdas": True, other: True}
    mine, theirs = (lib.DPMSolverMultistepScheduler(**config) for lib in (schedulers, diffusers))
    for scheduler in (mine, theirs):
        scheduler.set_timesteps(9)
    torch.testing.assert_close(mine.sigmas, theirs.sigmas)
    assert mine.timesteps.tolist() == theirs.timesteps.tolist()
