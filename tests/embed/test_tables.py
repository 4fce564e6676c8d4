"""Tables that C builds are Python's, bit for bit: every solver on every kind of schedule, nodes and options."""

from __future__ import annotations

import itertools
import math
import os
import random
from datetime import date
from typing import Any

import numpy as np
import pytest

from embed import library
from genfuse.samplers.churn import Churn
from genfuse.samplers.edm import EDM
from genfuse.samplers.registry import SOLVERS
from genfuse.samplers.sampler import Sampler
from genfuse.samplers.schedule import SCHEDULES, NoiseSchedule, noise_schedule
from genfuse.samplers.table import Clip

pytestmark = pytest.mark.skipif(library.LIBRARY is None, reason="libgenfuse.so is not built")

Case = tuple[str, int, dict[str, Any], dict[str, Any], dict[str, Any]]
"""Solver, steps, schedule's fields, the sampler's, the solver's own options."""

_CURVATURES = ("exact", "diffusers")
_DPM = {
    "order": (1, 2, 3),
    "algorithm": ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"),
    "solver_type": ("midpoint", "heun"),
    "lower_order_final": (True, False),
    "curvature": _CURVATURES,
}
_MULTISTEP = {**_DPM, "curvature": (*_CURVATURES, "published"), "euler_at_final": (False, True)}
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ddpm": {
        "variance_type": ("fixed_small", "fixed_large", "learned", "learned_range"),
        "final_noise": (False, True),
    },
    "ddim": {"eta": (0.0, 0.5, 1.0), "use_clipped_model_output": (False, True)},
    "euler": {"s_churn": (0.0, 3.0, 40.0), "s_tmin": (0.0, 0.1), "s_tmax": (math.inf, 5.0), "s_noise": (1.0, 1.003)},
    "euler_ancestral": {"eta": (1.0, 0.0, 0.37)},
    "lms": {"order": (4, 1, 2, 3, 5)},
    "dpmpp_sde": {"s_noise": (1.0, 0.0, 0.9)},
    "unipc": {
        "order": (1, 2, 3, 4),
        "predict_x0": (True, False),
        "variant": ("bh2", "bh1"),
        "lower_order_final": (True, False),
        "disable_corrector": ((), (0, 2)),
    },
    "deis": {"order": (1, 2, 3, 4), "lower_order_final": (False, True)},
    "ipndm": {"order": (1, 2, 3, 4)},
    "sa_solver": {
        "predictor_order": (1, 2, 3, 4),
        "corrector_order": (1, 2, 3, 4),
        "parametrization": ("data_prediction", "noise_prediction"),
        "lower_order_final": (True, False),
        "tau": (None, lambda t: 0.3, lambda t: t / 999),
    },
    "lcm": {"timestep_scaling": (10.0, 3.3), "sigma_data": (0.5, 1.1)},
    "tcd": {"eta": (0.3, 0.0, 1.0, 0.71)},
    "flow_heun": {"churn": (None, Churn(8.0), Churn(30.0, 0.1, 0.8, 1.01))},
    **dict.fromkeys(("dpm_2m", "dpm_3m", "dpm_2m_sde"), _MULTISTEP),
    **dict.fromkeys(("dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde", "dpmpp_3m_sde"), _MULTISTEP),
    **dict.fromkeys(("dpm_2s", "dpm_3s", "dpmpp_2s", "dpmpp_3s"), _DPM),
}  # fmt: skip

BETAS = np.linspace(2e-4, 0.03, 250) ** 1.1
SCHEDULE_FIELDS: list[dict[str, Any]] = [
    *({"name": name} for name in SCHEDULES),
    {"name": "linear", "num_train_timesteps": 237, "beta_start": 3e-4, "beta_end": 0.033},
    {"name": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"name": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "zero_terminal_snr": 1},
    {"name": "linear", "zero_terminal_snr": 1, "finite_sigmas": 1},
    {"name": "sigmoid", "zero_terminal_snr": 1},
    {"betas": BETAS},
    {"alphas_cumprod": np.cumprod(1 - BETAS)},
]
FLOW: dict[str, Any] = {"name": "flow"}
EDMS: list[dict[str, Any]] = [
    {"name": "edm"},
    {"name": "edm", "sigma_min": 0.03, "sigma_max": 14.6, "rho": 5.0, "sigma_data": 0.71},
]
CLIPS: list[dict[str, float]] = [
    {},
    {"clip_minimum": -1.0, "clip_maximum": 1.0},
    {"clip_quantile": 0.995, "threshold_max": 3.0},
]
SCHEDULE_NODES: list[dict[str, Any]] = [
    {},
    *({"spacing": spacing} for spacing in ("trailing", "linspace", "leading")),
    *({"sigmas": kind} for kind in ("karras", "exponential", "beta", "lu")),
    {"timesteps": (230.0, 171.0, 90.0, 33.0, 7.0)},
    {"timesteps": (201.5, 133.25, 80.0, 1.125)},
    {"sigma_levels": (9.0, 4.0, 1.5, 0.6, 0.1, 0.0)},
    {"sigma_levels": (5.0, 2.0, 0.5, 0.05)},
    {"strength": 0.6},
    {"guidance": 7.5, "guidance_rescale": 0.7},
]
FLOW_NODES: list[dict[str, Any]] = [
    {},
    {"timesteps": (990.0, 500.0, 123.5)},
    {"sigma_levels": (0.9, 0.5, 0.2, 0.0)},
    {"strength": 0.3},
]
EDM_NODES: list[dict[str, Any]] = [
    {},
    *({"sigmas": kind} for kind in ("karras", "exponential", "beta", "lu")),
    {"sigma_levels": (50.0, 3.0, 0.5, 0.01, 0.0)},
]


def python_schedule(fields: dict[str, Any]) -> Any:
    if fields["name"] == "flow" if "name" in fields else False:
        return "flow"
    if fields.get("name") == "edm":
        return EDM(**{name: value for name, value in fields.items() if name != "name"})
    if "alphas_cumprod" in fields:
        return NoiseSchedule(fields["alphas_cumprod"], "given")
    names = {"zero_terminal_snr": "rescale_betas_zero_snr", "betas": "trained_betas"}
    given = {names.get(k, k): v for k, v in fields.items() if k not in ("finite_sigmas", "name")}
    schedule = noise_schedule(fields.get("name", "linear"), **given)
    return schedule.with_finite_sigmas() if fields.get("finite_sigmas") else schedule


def python_sampler(case: Case) -> Sampler:
    name, steps, schedule, fields, options = case
    given: dict[str, Any] = {
        k: v for k, v in fields.items() if not k.startswith("clip") and k != "threshold_max"
    }
    if "sigma_levels" in given:
        given["sigmas"] = given.pop("sigma_levels")
    clip = Clip(
        fields.get("clip_minimum", -math.inf),
        fields.get("clip_maximum", math.inf),
        fields.get("clip_quantile", 0.0),
        fields.get("threshold_max", 1.0),
    )
    own = {k: v for k, v in options.items() if v is not None}
    return Sampler(name, steps, schedule=python_schedule(schedule), clip=clip, **given, **own)


def c_options(case: Case) -> library.SamplerOptions:
    _, _, schedule, fields, options = case
    own: list[tuple[str, Any]] = []
    for name, value in options.items():
        if name == "disable_corrector":
            own += [(name, row) for row in value]
        elif isinstance(value, Churn):
            own += [
                ("churn", value.churn),
                ("churn_minimum", value.minimum),
                ("churn_maximum", value.maximum),
            ]
            own += [("churn_noise", value.noise)]
        elif name != "tau" and value is not None:
            own.append((name, value))
    return library.options_of(own, options.get("tau"), schedule=library.schedule_of(**schedule), **fields)


def all_cases() -> list[Case]:
    """Every solver on all schedules and nodes with its defaults, and all combinations of its options on one."""
    cases: list[Case] = []
    for name in SOLVERS:
        grids = [(fields, nodes) for fields in SCHEDULE_FIELDS for nodes in SCHEDULE_NODES]
        grids += [(FLOW, nodes) for nodes in FLOW_NODES]
        grids += [(fields, nodes) for fields in EDMS for nodes in EDM_NODES]
        for place, (fields, nodes) in enumerate(grids):
            for prediction in (None, "epsilon", "v_prediction", "sample", "flow_prediction"):
                given = {**nodes, **CLIPS[place % 3]} | ({"prediction": prediction} if prediction else {})
                cases.append((name, (1, 2, 5, 14, 20, 31)[place % 6], fields, given, {}))
        choices = OPTIONS.get(name, {})
        for place, values in enumerate(itertools.product(*choices.values())):
            options = dict(zip(choices, values, strict=True))
            fields = ({"name": "scaled_linear"}, FLOW, EDMS[0])[place % 3]
            cases.append((name, (6, 12, 17)[place // 3 % 3], fields, CLIPS[place % 2], options))
    return cases


def chosen_cases() -> list[Case]:
    cases = all_cases()
    if os.environ.get("GENFUSE_PROOF"):
        return cases
    return random.Random(date.today().toordinal()).sample(cases, 300)


def test_tables_are_pythons_bit_for_bit() -> None:
    built = refused = 0
    for case in chosen_cases():
        try:
            expected: Sampler | None = python_sampler(case)
        except (ValueError, ZeroDivisionError):
            expected = None
        try:
            found: library.CSampler | None = library.CSampler(case[0], case[1], options=c_options(case))
        except library.CError as error:
            assert error.status == library.INVALID_ARGUMENT and str(error), case
            found = None
        assert (found is None) == (expected is None), case
        if found is None or expected is None:
            refused += 1
            continue
        built += 1
        assert len(found) == len(expected), case
        rows = expected.table.rows.numpy()
        for name, ours, theirs in (
            ("table", found.array("table", library.COLUMNS), rows),
            ("timesteps", found.array("timesteps"), expected.timesteps.numpy()),
            ("input_scale", found.array("input_scale"), np.array(expected.input_scale)),
        ):
            differs = ours.view(np.int64) != np.ascontiguousarray(theirs).view(np.int64)
            assert not differs.any(), (
                case,
                name,
                np.argwhere(differs)[:4],
                ours[differs][:4],
                theirs[differs][:4],
            )
    assert built > 4 * refused / 10, (built, refused)


NOISELESS = {
    "all": [0.0] * 1000,
    "the first half": [0.0] * 500 + [0.01] * 500,
    "both ends": [0.0] * 300 + [0.01] * 400 + [0.0] * 300,
}


@pytest.mark.parametrize("name", [name for name in SOLVERS if not name.startswith("flow")])
@pytest.mark.parametrize("without", NOISELESS)
@pytest.mark.filterwarnings("error")
def test_a_schedule_without_noise_is_refused_as_c_refuses_it(name: str, without: str) -> None:
    betas = NOISELESS[without]
    schedule = library.schedule_of(betas=betas)
    try:
        built = library.CSampler(name, 10, options=library.options_of(schedule=schedule))
    except library.CError as refusal:
        where = (
            r"^table row \d+(, column 'y_x' is (-?nan|-?inf), expected a finite| is at time nan, expected)"
        )
        with pytest.raises(ValueError, match=where) as caught:
            Sampler(name, 10, schedule=noise_schedule(trained_betas=betas))
        if not name.startswith(
            "dpm2"
        ):  # of whose times between two steps one names the time, the other what follows
            assert str(caught.value) == str(refusal).replace("-nan", "nan")
    else:
        rows = Sampler(name, 10, schedule=noise_schedule(trained_betas=betas)).table.rows.numpy()
        np.testing.assert_array_equal(rows, built.array("table", library.COLUMNS))
