"""Rows of `genfuse bench conv_norm_act`: a workload in a dtype, at an accuracy, beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from genfuse_bench import sections
from genfuse_bench.contest import ACCURACIES, Contest, Facts, bare, label
from genfuse_bench.measurement import Measurement, TimedRow, Timing, interval, quotient
from genfuse_bench.module_peers import MODULE_PEERS
from genfuse_bench.own_process import peaks_mb
from genfuse_bench.timing import Effort, collect
from genfuse_bench.worker import Measurer

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in ACCURACIES}


@dataclass(frozen=True)
class UnitRow(TimedRow):
    """Milliseconds of one call, medians; None where nothing may be reported."""

    op: str
    workload: str
    shape: tuple[int, ...]
    dtype: str
    accuracy: str
    threads: int
    device: str
    backend: str
    """whose kernels ours runs on"""
    ours_ms: float | None
    """with the allocator as it comes, where that was measured: what a user gets; as are the next two"""
    planar_ms: float | None
    guarded_ms: float | None
    peers_ms: dict[str, float]
    """the better of all allocators"""
    bare_ms: dict[str, float]
    """likewise, of peers that ran the unit's convolution alone"""
    best_peer: str | None
    ratio: float | None
    best_bare: str | None
    bare_ratio: float | None
    median_ms: dict[str, dict[str, float]]
    """by allocator and competitor"""
    fastest_ms: dict[str, dict[str, float]]
    """first deciles likewise: what a quieter machine would give"""
    gflops: float | None
    """by the definition's operations"""
    peak_gflops: float
    """the machine's matrix product in this dtype, measured in the same run"""
    share: float | None
    bytes_moved: int
    bytes_minimum: int
    error: float
    tolerance: float
    torch_error: float
    """of eager PyTorch in this dtype"""
    peer_errors: dict[str, float]
    unfit: dict[str, str]
    """peers that cannot run it, or run it wrong"""
    peak_mb: dict[str, float] = field(default_factory=dict)
    """how far a call raises the peak of resident memory, each in a process of its own; where it was asked for"""

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= self.tolerance


def unit_rows(
    measurers: Mapping[str, Measurer],
    section: str,
    number: int,
    dtype: torch.dtype,
    peers: Sequence[str],
    peak: float,
    effort: Effort,
) -> list[UnitRow]:
    """A row for each accuracy; measurers by the allocator of their process."""
    facts = {name: m.prepare(section, number, dtype, peers) for name, m in measurers.items()}
    taken = collect({name: partial(m.window, effort) for name, m in measurers.items()}, effort)
    return [_row(list(facts.values()), taken, accuracy, peak) for accuracy in ACCURACIES[dtype]]


def prepared(section: str, number: int, dtype: torch.dtype, who: str) -> Callable[[], object]:
    """A call whose peak of memory is measured."""
    peers = [MODULE_PEERS[who]] if who in MODULE_PEERS else []
    call = Contest(sections.make(section, number), dtype, peers).call(who)
    call()
    return call


def with_peak(row: UnitRow, section: str, number: int) -> UnitRow:
    """The row with peaks of memory of ours and of all whole peers that have a time, but the compiled one."""
    who = (label(row.accuracy), *(peer for peer in row.peers_ms if peer != "compile"))
    return replace(row, peak_mb=peaks_mb(prepared, who, section, number, DTYPES[row.dtype]))


def _row(facts: Sequence[Facts], taken: Mapping[str, Measurement], accuracy: str, peak: float) -> UnitRow:
    common, name = facts[0], label(accuracy)
    error, tolerance = max(f.errors[name] for f in facts), common.tolerances[accuracy]
    fine = error <= tolerance
    ours = taken.get("default", next(iter(taken.values()))).us
    times = _better(taken)
    peers = {peer: times[peer] for peer in MODULE_PEERS if peer in times}
    alone = {peer: times[bare(peer)] for peer in MODULE_PEERS if bare(peer) in times}
    ours_ms = ours[name] / 1e3 if fine else None
    gflops = common.flops / ours_ms / 1e6 if ours_ms else None
    best, best_alone = _best(peers), _best(alone)
    return UnitRow(
        op="conv_norm_act",
        workload=common.workload,
        shape=common.shape,
        dtype=common.dtype,
        accuracy=accuracy,
        threads=torch.get_num_threads(),
        device="cpu",
        backend=common.backends[accuracy],
        ours_ms=ours_ms,
        planar_ms=_form(ours, accuracy, "planar") if fine else None,
        guarded_ms=_form(ours, accuracy, "guarded") if fine else None,
        peers_ms=peers,
        bare_ms=alone,
        best_peer=best,
        ratio=peers[best] / ours_ms if best and ours_ms else None,
        best_bare=best_alone,
        bare_ratio=alone[best_alone] / ours_ms if best_alone and ours_ms else None,
        median_ms={allocator: _ms(m.us) for allocator, m in taken.items()},
        fastest_ms={allocator: _ms(m.fastest_us) for allocator, m in taken.items()},
        gflops=gflops,
        peak_gflops=peak,
        share=gflops / peak if gflops else None,
        bytes_moved=common.moved[accuracy],
        bytes_minimum=common.minimum,
        error=error,
        tolerance=tolerance,
        torch_error=common.torch_error,
        peer_errors={who: e for who, e in common.errors.items() if not who.startswith("ours")},
        unfit=common.unfit,
        timing=_timing(taken, name, fine),
    )


def _better(taken: Mapping[str, Measurement]) -> dict[str, float]:
    """Each competitor's milliseconds with the allocator that suits it."""
    times: dict[str, float] = {}
    for measurement in taken.values():
        for name, us in measurement.us.items():
            times[name] = min(times.get(name, us / 1e3), us / 1e3)
    return times


def _timing(taken: Mapping[str, Measurement], ours: str, fine: bool) -> Timing:
    """Of both allocators' processes: ours from the one as it comes, each peer from the one that suits it."""
    usual = taken.get("default", next(iter(taken.values())))
    shown = {name: name for name in usual.us if not name.startswith("ours") or name.startswith(ours)}
    timing = usual.only(shown).timing(ours if fine else None)
    us, ends, ratio = dict(timing.us), dict(timing.interval_us), dict(timing.ratio)
    for other in taken.values():
        for name in (name for name in us if not name.startswith("ours") and other.us[name] < us[name]):
            own = interval(other.rounds_us[name])
            us[name], ends[name] = own.median, (own.low, own.high)
            if fine:
                ratio[name] = quotient(own, interval(usual.rounds_us[ours]))  # not of the same rounds
    return replace(
        timing,
        us=us,
        interval_us=ends,
        ratio=ratio,
        dropped=sum(m.dropped for m in taken.values()),
        contended=any(m.contended for m in taken.values()),
    )


def _best(times: Mapping[str, float]) -> str | None:
    return min(times, key=lambda name: times[name], default=None)


def _form(us: Mapping[str, float], accuracy: str, form: str) -> float | None:
    name = label(accuracy, form)
    return us[name] / 1e3 if name in us else None


def _ms(us: Mapping[str, float]) -> dict[str, float]:
    return {name: value / 1e3 for name, value in us.items()}
