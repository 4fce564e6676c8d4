"""`conv_norm_act` on units that hypothesis draws, and shrinks where one fails, against the float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, PADDING_MODES, Settings
from ops.conv_cases import IMAGE_LAYOUTS, Case, check, make_case

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@st.composite
def units(draw: Any) -> Case:
    """A unit with its tensors: any kernel, stride, padding, dilation, groups, norm, activation, dtype, layout, size."""
    transposed = draw(st.booleans())
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    channels, outputs = (groups * draw(st.integers(1, 36 // groups)) for _ in "12")
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    drawn = Settings(
        stride=stride,
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups=groups,
        transposed=transposed,
        output_padding=(draw(st.integers(0, stride[0] - 1)), draw(st.integers(0, stride[1] - 1)))
        if transposed
        else (0, 0),
        padding_mode="zeros" if transposed else draw(st.sampled_from(PADDING_MODES)),
        upsample=(1, 1) if transposed else draw(st.sampled_from(((1, 1), (2, 2)))),
        norm=draw(st.sampled_from(NORMS)),
        num_groups=draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0])),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        negative_slope=0.2,
        out_activation=draw(st.sampled_from(ACTIVATIONS)),
        dropout=draw(st.sampled_from((0.0, 0.3))),
        accuracy=draw(st.sampled_from((None, "exact", "fast"))),
    )
    shape = (channels, outputs // groups, *kernel) if transposed else (outputs, channels // groups, *kernel)
    size = draw(st.tuples(st.integers(3, 20), st.integers(3, 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_case(
        rng, draw(st.sampled_from(DTYPES)), drawn, draw(st.integers(1, 3)), channels, shape, size
    )


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # the same cases in every run: a failure is the change's
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=units(), layout=st.sampled_from(IMAGE_LAYOUTS))
def test_drawn_units(case: Case, layout: str) -> None:
    check(case, layout)
