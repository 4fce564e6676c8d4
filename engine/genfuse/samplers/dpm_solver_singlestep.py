"""DPM-Solver and DPM-Solver++, singlestep: derivatives come from calls inside the step."""

from __future__ import annotations

from typing import Literal

from genfuse.names import check_name
from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, NOISE_PREV, Combination, X
from genfuse.samplers.dpm_step import Algorithm, SolverType, check_dpm_options, dpm_step, integrated
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

Curvature = Literal["exact", "diffusers"]
CURVATURES: tuple[Curvature, ...] = ("exact", "diffusers")


def singlestep_orders(
    steps: int, order: int, *, lower_order_final: bool = True, final_zero: bool = True
) -> list[int]:
    """Order of each of `steps` rows: 1, 2, .., order again and again (Lu et al. 2022a, section 3.4).

    lower_order_final  what is left over ends in steps of order 1 and 2; without it steps must be a multiple
    final_zero         the last row is of order 1, as a step to a node without noise must be
    ValueError where steps is no multiple of order and lower_order_final is not set.
    """
    groups, rest = divmod(steps, order)
    one = list(range(1, order + 1))
    if not lower_order_final:
        if rest:
            raise ValueError(
                f"the grid has {steps} steps and order is {order}, expected a multiple of it; "
                "or set lower_order_final=True"
            )
        orders = one * groups
    elif order == 1:
        orders = [1] * steps
    elif rest == 0:
        orders = one * (groups - 1) + one[: order - 1] + [1]
    else:
        orders = one * groups + one[:rest]
    return [*orders[:-1], 1] if final_zero else orders


def dpmpp_singlestep(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    order: int = 2,
    algorithm: Algorithm = "dpmsolver++",
    solver_type: SolverType = "midpoint",
    lower_order_final: bool = True,
    curvature: Curvature = "exact",
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """DPM-Solver-k (Lu et al. 2022a, algorithms 1 and 2) and DPM-Solver++(kS); see `dpm_step`.

    Rows come in groups of `order`; each goes from the group's first node to the row's next, by Taylor's
    expansion at the first. The group's first sample is not kept: it is the current one less what the last
    row added, which grows no error (its coefficient is that of a step from the current node).

    solver_type  "midpoint": second order with half the prediction's weight for the slope, third order without
                 curvature; "heun": both exact for a polynomial
    curvature    "diffusers": its sign slip in sde-dpmsolver++ (see `DPMStep.with_sign_slip`)
    begin        first row used: a group that starts in the middle, or at a node without signal,
                 is of lower order
    ValueError: an option that is not one of these; without lower_order_final, steps no multiple of order.
    """
    check_dpm_options(order, algorithm, solver_type)
    check_name("curvature", curvature, CURVATURES)
    builder = begun_table(grid, begin)
    final_zero = bool(grid.sigma[-1] == 0)
    orders = singlestep_orders(len(grid), order, lower_order_final=lower_order_final, final_zero=final_zero)
    slots = max(order - 1, 1)
    first = begin + int(grid.alpha[begin] == 0)  # derivatives need a finite lambda
    uses = [max(1, min(own, i - first + 1)) for i, own in enumerate(orders)]
    start: Combination = X
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        f = integrated(algorithm, clipped(raw, clip, grid.alpha[i], grid.sigma[i]))
        use = uses[i]
        start = X if use == 1 else start
        stages = [*(HISTORY[j % slots] for j in range(i - use + 1, i)), f]
        step = dpm_step(algorithm, grid, i - use + 1, i + 1)
        if use == 2 and solver_type == "midpoint":
            step = step.midpoint()
        if use == 3 and curvature == "diffusers" and algorithm == "sde-dpmsolver++":
            step = step.with_sign_slip(grid.alpha[i + 1])
        derivatives = _derivatives(grid, i, stages, solver_type)
        builder.row(
            grid.timesteps[i],
            raw,
            step.apply(start, *derivatives),
            clip=clip,
            store=f if order > 1 else None,
            slot=i % slots,
        )
        if i + 1 < len(grid) and uses[i + 1] > 1:
            # Seen from the next row: this one's prediction is stored, its noise is the previous one.
            stored = _derivatives(grid, i, [*stages[:-1], HISTORY[i % slots]], solver_type)
            added = step.apply(X, *stored) - X * step.carry
            start = (X - added.substitute(noise=NOISE_PREV)) / step.carry
    return builder.build()


def _derivatives(grid: Grid, i: int, stages: list[Combination], solver_type: SolverType) -> list[Combination]:
    """The prediction at the group's first node s and its derivatives by u = (lambda − lambda_s)/h.

    stages: predictions at s, .., i. Third order is Lu et al. 2022a, algorithm 2: "midpoint" has the slope of
    the last stage alone, "heun" fits the parabola through all three.
    """
    if len(stages) == 1:
        return stages
    log_snr, s = grid.log_snr, i - len(stages) + 1
    h = log_snr[i + 1] - log_snr[s]
    r = [float((log_snr[s + k] - log_snr[s]) / h) for k in range(1, len(stages))]
    slopes = [(stage - stages[0]) / ratio for stage, ratio in zip(stages[1:], r, strict=True)]
    if len(stages) == 2 or solver_type == "midpoint":
        return [stages[0], slopes[-1]]
    curvature = (slopes[1] - slopes[0]) * (2.0 / (r[1] - r[0]))
    return [stages[0], slopes[0] - curvature * (r[0] / 2.0), curvature]
