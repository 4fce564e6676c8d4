"""What changed between two measurements, beyond their noise.

A time is compared in units of a control: a competitor that both measured beside it, in the same rounds. So a machine
that is slower today, or another one, is no regression; neither is a new version of a competitor a gain of ours, which
is why versions that differ are named. A row has changed where the intervals of before and after do not overlap, and
the medians differ by more than the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genfuse_bench.measurement import Interval, quotient
from genfuse_bench.results import Result, case_of, is_ours

SLOWER, FASTER, SAME, UNSURE, REFUSED, ACCEPTED = "slower", "faster", "same", "unsure", "refused", "accepted"

SURE = 0.9
"""The confidence below which a row's intervals decide nothing: of fewer than five rounds."""


@dataclass(frozen=True)
class Change:
    """Of one of our forms in one case."""

    op: str
    label: str
    who: str
    before: Interval | None
    """µs"""
    after: Interval | None
    control: str | None
    """in whose units times were compared"""
    factor: Interval | None
    """after over before: above 1 is slower"""
    verdict: str
    contended: bool


@dataclass(frozen=True)
class Comparison:
    """All changes, and what has no counterpart."""

    changes: list[Change] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    versions: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    machines: tuple[str, str] | None = None
    """where they differ"""

    def of(self, *verdicts: str) -> list[Change]:
        """Those with one of these verdicts."""
        return [change for change in self.changes if change.verdict in verdicts]

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or no longer right."""
        return bool(self.of(SLOWER, REFUSED))


def compare(
    before: Mapping[str, Sequence[Result]],
    after: Mapping[str, Sequence[Result]],
    threshold: float,
    *,
    by: str = "ratio",
) -> Comparison:
    """Rows by file, as `results.load` gives them; by "ratio" to a control, or by "time".

    A single file is held against the other side's file of its name, or, where that is a single one too, against it.
    ValueError where no case is in both.
    """
    pairs = _pairs(before, after)
    found = Comparison()
    for old, new in pairs:
        olds, news = ({case_of(row.line): row for row in rows} for rows in (old, new))
        found.missing.extend(_name(olds[case]) for case in olds if case not in news)
        found.new.extend(_name(news[case]) for case in news if case not in olds)
        for case in (case for case in olds if case in news):
            found.changes.extend(_changes(olds[case], news[case], threshold, by))
    if not found.changes:
        raise ValueError("nothing to compare: no case is in both")
    first, last = ([row for rows in pairs for row in rows[side]] for side in (0, 1))
    versions, machines = _versions(first, last), _machines(first, last)
    return Comparison(found.changes, found.missing, found.new, versions, machines)


def _pairs(
    before: Mapping[str, Sequence[Result]], after: Mapping[str, Sequence[Result]]
) -> list[tuple[Sequence[Result], Sequence[Result]]]:
    names = [name for name in before if name in after]
    if not names and len(before) == len(after) == 1:
        return [(next(iter(before.values())), next(iter(after.values())))]
    if (
        len(before) > 1 and len(after) > 1
    ):  # a file that is in one of them alone is missing, or new, as a whole
        names = list(dict.fromkeys([*before, *after]))
    return [(before.get(name, ()), after.get(name, ())) for name in names]


def _name(row: Result) -> str:
    return f"{row.op}: {row.label}"


def _changes(old: Result, new: Result, threshold: float, by: str) -> list[Change]:
    """Of every form of ours that both have; of the row's own also where one of them was refused."""
    forms = [name for name in old.us if (is_ours(name) or name == old.ours) and name in new.us]
    control = _control(old, new) if by == "ratio" else None
    contended = old.contended or new.contended
    if (old.ours is None) != (new.ours is None):
        verdict = REFUSED if new.ours is None else ACCEPTED
        who = old.ours or new.ours or "ours"
        of = (old.us.get(who), new.us.get(who))
        return [Change(old.op, old.label, who, *of, None, None, verdict, contended)]
    sure = all(row.confidence is None or row.confidence >= SURE for row in (old, new))
    changes = []
    for who in forms:
        factor = quotient(_units(new, who, control), _units(old, who, control))
        verdict = _verdict(factor, threshold)
        verdict = verdict if sure or verdict == SAME else UNSURE
        of = (old.us[who], new.us[who])
        changes.append(Change(old.op, old.label, who, *of, control, factor, verdict, contended))
    return changes


def _control(old: Result, new: Result) -> str | None:
    """The fastest peer of before that after has too; else the floor; else nobody."""
    peers = {name: us.median for name, us in old.peers.items() if name in new.us}
    fastest = min(peers, key=peers.__getitem__, default=None)
    return fastest or ("floor" if "floor" in old.us and "floor" in new.us else None)


def _units(row: Result, who: str, control: str | None) -> Interval:
    """A form's time, in the control's where there is one: of the same rounds where the row has it so."""
    if control is None:
        return row.us[who]
    if who == row.ours and control in row.ratio:
        ratio = row.ratio[control]
        return Interval(1 / ratio.high, 1 / ratio.median, 1 / ratio.low)
    return quotient(row.us[who], row.us[control])


def _verdict(factor: Interval, threshold: float) -> str:
    if factor.low > 1 and factor.median > 1 + threshold:
        return SLOWER
    return FASTER if factor.high < 1 and factor.median < 1 / (1 + threshold) else SAME


def _versions(before: Sequence[Result], after: Sequence[Result]) -> dict[str, tuple[str | None, str | None]]:
    """Of packages that were not the same; genfuse itself is what is compared."""
    old, new = (
        {name: version for row in rows for name, version in row.line.get("versions", {}).items()}
        for rows in (before, after)
    )
    names = sorted({*old, *new} - {"genfuse"})
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _machines(before: Sequence[Result], after: Sequence[Result]) -> tuple[str, str] | None:
    old, new = (
        ", ".join(sorted({_machine(row.line.get("machine", {})) for row in rows})) for rows in (before, after)
    )
    return None if old == new else (old, new)


def _machine(facts: Mapping[str, object]) -> str:
    gpus = facts.get("gpus")
    named = " ".join(map(str, gpus)) if isinstance(gpus, list) else ""
    return f"{facts.get('processor')} with {facts.get('cores')} cores {named}".strip()
