"""Noise schedules: how much signal is left at each training timestep."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.ops import check
from genfuse.samplers import libm

Precision = Literal["float64", "float32"]

NEARLY_ZERO = 2.0**-24
"""What replaces a terminal alphas_cumprod of 0 where sigma must be finite: float16's smallest subnormal."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """x_t = sqrt(alphas_cumprod[t])·x0 + sqrt(1 − alphas_cumprod[t])·noise for t = 0..T−1.

    alphas_cumprod  (T,) float64, descending in (0, 1]; the last may be 0 (zero terminal SNR)
    name            how it was made: one of `SCHEDULES` or "trained_betas"
    precision       "float64": exact. "float32": every value was rounded on the way as diffusers rounds, then
                    lifted, so that what is built on it follows diffusers' own trajectory.
    """

    alphas_cumprod: NDArray[np.float64]
    name: str
    precision: Precision = "float64"

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """(T,) noise to signal, sqrt((1 − alphas_cumprod)/alphas_cumprod); inf at zero terminal SNR."""
        alphas_cumprod = torch.from_numpy(self.alphas_cumprod).to(_DTYPES[self.precision])
        return _lift(_root((1 - alphas_cumprod) / alphas_cumprod))

    @property
    def log_sigmas(self) -> NDArray[np.float64]:
        """(T,) log of `sigmas`, ascending: −log SNR / 2."""
        if self.precision == "float32":
            return np.log(self.sigmas.astype(np.float32)).astype(np.float64)
        return libm.log(self.sigmas)

    def with_finite_sigmas(self) -> NoiseSchedule:
        """The same schedule, its last alphas_cumprod 2⁻²⁴, for solvers that start from a finite sigma."""
        alphas_cumprod = self.alphas_cumprod.copy()
        alphas_cumprod[-1] = NEARLY_ZERO
        return replace(self, alphas_cumprod=alphas_cumprod)


_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def noise_schedule(
    name: str = "linear",
    num_train_timesteps: int = 1000,
    *,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    trained_betas: Sequence[float] | NDArray[np.floating] | None = None,
    rescale_betas_zero_snr: bool = False,
    precision: Precision = "float64",
) -> NoiseSchedule:
    """The schedule of a name, or of betas given.

    name  "linear" (Ho et al. 2020), "scaled_linear" (linear in √beta; Rombach et al. 2022),
          "sigmoid" (Xu et al. 2022); and, without beta_start and beta_end, "squaredcos_cap_v2" (Nichol &
          Dhariwal 2021), "laplace" (Hang et al. 2024), "exp" (alphas_cumprod = exp(−12 t))
    trained_betas  (T,) in [0, 1], instead of a name; num_train_timesteps is then its length
    rescale_betas_zero_snr  shift and scale √alphas_cumprod so that its last value is 0 (Lin et al. 2024)
    ValueError for an unknown name, no timesteps, or betas outside [0, 1]; TypeError for an end that is no number.
    """
    check_name("precision", precision, _DTYPES)
    dtype = _DTYPES[precision]
    for argument, value in (("beta_start", beta_start), ("beta_end", beta_end)):
        check.number(argument, value)
    if trained_betas is not None:
        betas = torch.tensor(np.asarray(trained_betas, dtype=np.float64), dtype=dtype, device="cpu")
        name = "trained_betas"
    else:
        check_name("beta_schedule", name, SCHEDULES)
        if num_train_timesteps < 1:
            raise ValueError(f"num_train_timesteps is {num_train_timesteps}, expected at least 1")
        betas = SCHEDULES[name](num_train_timesteps, beta_start, beta_end, dtype)
    if betas.ndim != 1 or len(betas) == 0 or not bool(((betas >= 0) & (betas <= 1)).all()):
        raise ValueError(
            f"betas of schedule {name!r} are {betas}, "
            "expected (T,) values in [0, 1]; check trained_betas, beta_start and beta_end"
        )
    if rescale_betas_zero_snr:
        betas = rescale_zero_terminal_snr(betas)
    return NoiseSchedule(_lift(torch.cumprod(1.0 - betas, dim=0)), name, precision)


def rescale_zero_terminal_snr(betas: Tensor) -> Tensor:
    """(T,) betas whose last alphas_cumprod is 0 and whose first is kept (Lin et al. 2024, algorithm 1)."""
    signal = _root(torch.cumprod(1.0 - betas, dim=0))
    first, last = signal[0].clone(), signal[-1].clone()
    alphas_cumprod = ((signal - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def _even(start: float, end: float, steps: int, dtype: torch.dtype) -> Tensor:
    """(steps,) from start to end; in float32 as PyTorch rounds, by rule in float64."""
    if dtype == torch.float64:
        return torch.from_numpy(np.linspace(start, end, steps))
    return torch.linspace(start, end, steps, dtype=dtype, device="cpu")


def _root(values: Tensor) -> Tensor:
    """√values; in float32 as PyTorch rounds, correctly rounded in float64, where PyTorch's is not everywhere."""
    return torch.from_numpy(np.sqrt(values.numpy())) if values.dtype == torch.float64 else values**0.5


def _linear(steps: int, beta_start: float, beta_end: float, dtype: torch.dtype) -> Tensor:
    return _even(beta_start, beta_end, steps, dtype)


def _scaled_linear(steps: int, beta_start: float, beta_end: float, dtype: torch.dtype) -> Tensor:
    return _even(beta_start**0.5, beta_end**0.5, steps, dtype) ** 2


def _sigmoid(steps: int, beta_start: float, beta_end: float, dtype: torch.dtype) -> Tensor:
    logits = _even(-6, 6, steps, dtype)
    share = torch.sigmoid(logits)
    if dtype == torch.float64:
        share = 1 / (1 + torch.from_numpy(libm.exp(-logits.numpy())))
    return share * (beta_end - beta_start) + beta_start


def _from_alpha_bar(
    alpha_bar: Callable[[float], float], steps: int, beta_start: float, beta_end: float, dtype: torch.dtype
) -> Tensor:
    """Betas of a continuous alpha_bar(t), t in [0, 1], kept at or below 0.999."""
    betas = [min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), 0.999) for i in range(steps)]
    return torch.tensor(betas, dtype=dtype, device="cpu")


def _cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _laplace(t: float) -> float:
    log_snr = -0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * abs(0.5 - t) + 1e-6)
    snr = math.exp(log_snr)
    return math.sqrt(snr / (1 + snr))


def _exponential(t: float) -> float:
    return math.exp(-12.0 * t)


SCHEDULES: dict[str, Callable[[int, float, float, torch.dtype], Tensor]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": partial(_from_alpha_bar, _cosine),
    "sigmoid": _sigmoid,
    "laplace": partial(_from_alpha_bar, _laplace),
    "exp": partial(_from_alpha_bar, _exponential),
}


def _lift(values: Tensor) -> NDArray[np.float64]:
    lifted: NDArray[np.float64] = values.double().numpy()
    return lifted
