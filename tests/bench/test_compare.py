"""`genfuse bench compare`: what counts as changed, where rows come from, exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from genfuse_bench.compare import compare
from genfuse_bench.compare_command import compare as command
from genfuse_bench.results import Result, read

app = typer.Typer()
app.command()(command)


def row(ours: float | None, peer: float, noise: float = 0.01, **fields: Any) -> dict[str, Any]:
    """A row of today's form: intervals of ± noise, the ratio's likewise."""
    us = {"peer": peer} | ({} if ours is None else {"ours": ours})
    timing = {
        "us": us,
        "interval_us": {who: [t * (1 - noise), t * (1 + noise)] for who, t in us.items()},
        "ratio": {} if ours is None else {"peer": [peer / ours * f for f in (1 - noise, 1.0, 1 + noise)]},
        "confidence": 0.96,
        "contended": False,
        "cache": "warm",
    }
    machine = {"processor": "P", "cores": 2, "gpus": []}
    common = {"op": "bias_act", "workload": "w", "threads": 2, "machine": machine, "versions": {"torch": "2"}}
    return {**common, "timing": timing | fields.pop("timing", {}), **fields}


def results(*lines: dict[str, Any]) -> dict[str, list[Result]]:
    return {"r.jsonl": read(map(json.dumps, lines), "r.jsonl")}


def verdict(before: dict[str, Any], after: dict[str, Any], threshold: float = 0.05, by: str = "ratio") -> str:
    (change,) = compare(results(before), results(after), threshold, by=by).changes
    return change.verdict


def test_a_change_is_beyond_noise_and_threshold() -> None:
    assert verdict(row(10, 20), row(11, 20)) == "slower"
    assert verdict(row(11, 20), row(10, 20)) == "faster"
    assert verdict(row(10, 20), row(11, 20), threshold=0.2) == "same"
    assert verdict(row(10, 20), row(11, 20, noise=0.12)) == "same"


def test_a_slower_machine_is_no_regression_unless_times_are_asked_for() -> None:
    assert verdict(row(10, 20), row(15, 30)) == "same"
    assert verdict(row(10, 20), row(15, 30), by="time") == "slower"


def test_too_few_rounds_decide_nothing() -> None:
    assert verdict(row(10, 20), row(15, 20, timing={"confidence": 0.75})) == "unsure"


def test_what_is_no_longer_right_is_a_regression() -> None:
    assert verdict(row(10, 20), row(None, 20)) == "refused"
    assert compare(results(row(10, 20)), results(row(None, 20)), 0.05).regressed
    assert verdict(row(None, 20), row(10, 20)) == "accepted"


def test_cold_caches_are_a_case_of_their_own_and_what_is_missing_is_named() -> None:
    cold = row(30, 40, timing={"cache": "cold"})
    found = compare(results(row(10, 20), cold), results(row(10, 20), row(1, 2, workload="new")), 0.05)
    assert [change.verdict for change in found.changes] == ["same"]
    assert found.missing == ["bias_act: w, 2 threads, cold"] and found.new == ["bias_act: new, 2 threads"]


def test_every_form_of_ours_is_compared() -> None:
    def with_face(us: float) -> dict[str, Any]:
        line = row(10, 20)
        line["timing"]["us"]["face"] = us
        line["timing"]["interval_us"]["face"] = [us * 0.99, us * 1.01]
        return line

    found = compare(results(with_face(12)), results(with_face(18)), 0.05)
    assert {change.who: change.verdict for change in found.changes} == {"ours": "same", "face": "slower"}


def test_rows_without_intervals_have_the_spread_of_their_laps() -> None:
    old = {"op": "bias_act", "workload": "w", "ours_ms": 1.0, "peers_ms": {"plain": 2.0}, "floor_ms": 0.5}
    old["fastest_ms"] = {"ours": 0.9, "plain": 1.9, "floor": 0.4}
    (result,) = read([json.dumps(old)], "old")
    assert result.us["ours"] == pytest.approx((900, 1000, 1100)) and result.ours == "ours"
    assert result.ratio["plain"] == pytest.approx((1900 / 1100, 2, 2100 / 900))
    assert result.peers.keys() == {"plain"}


def test_every_committed_row_is_read() -> None:
    """Rows with times of all ops; of those without ratios by round, the ratio of medians is what was written."""
    files = sorted((Path(__file__).parents[2] / "bench" / "results").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert not any("NaN" in line for line in lines)
    found = read(lines, "committed")
    assert len(found) > 300
    for result in found:
        written = result.line.get("ratio")
        if written and result.line.get("best_peer") and "timing" not in result.line:
            assert result.ratio[str(result.line["best_peer"])].median == pytest.approx(written, rel=0.02)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], str]:
    """Commits a row as bench/results/r.jsonl and gives the revision."""
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    file = tmp_path / "bench" / "results" / "r.jsonl"
    file.parent.mkdir(parents=True)

    def commit(line: dict[str, Any]) -> str:
        file.write_text(json.dumps(line) + "\n")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "m"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    return commit


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def test_files_and_revisions(repository: Callable[[dict[str, Any]], str], tmp_path: Path) -> None:
    first, second = repository(row(10, 20)), repository(row(20, 20))
    status, output = run(first, second)
    assert status == 1 and "1 slower" in output and "+100.0 %" in output
    assert run(second, first)[0] == run(first, first)[0] == 0
    assert run(first, "bench/results/r.jsonl")[0] == run(f"{first}:bench/results/r.jsonl", "HEAD")[0] == 1
    assert run(first, "bench/results")[0] == 1


@pytest.mark.parametrize(
    ("after", "words"),
    [("nowhere", "no file, no folder and no revision"), ("text", "no JSON"), ("empty", "nothing to compare")],
)
def test_unusable_input_exits_with_2(
    repository: Callable[[dict[str, Any]], str], tmp_path: Path, after: str, words: str
) -> None:
    (tmp_path / "text").write_text("no row")
    (tmp_path / "empty").write_text("")
    status, output = run(repository(row(10, 20)), after)
    assert status == 2 and words in output
