"""`make proof`: what it runs, where it goes on, and what it writes down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genfuse_bench import proof
from genfuse_bench.proof import files, main, prove
from genfuse_bench.steps import Outcome, Step


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own."""

    def git(*arguments: str) -> str:
        own = ["-c", "user.name=a", "-c", "user.email=a@b"]
        run = subprocess.run(
            ["git", "-C", str(tmp_path), *own, *arguments], capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    git("init", "-q")
    for name in ("tests/test_a.py", "tests/ops/test_b.py", "tests/ops/emulated/test_c.py", "bench/results/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("0")
    (tmp_path / "kernels/genfuse_kernels/op").mkdir(parents=True)
    (tmp_path / "kernels/genfuse_kernels/op/spec.py").write_text("")
    (tmp_path / "tests/test_a.py").write_text("import torch\nfrom genfuse_kernels.op import spec\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(proof, "ROOT", tmp_path)
    monkeypatch.setattr(proof, "git", git)
    return tmp_path


def commit(repository: Path, name: str) -> None:
    with (repository / name).open("a") as file:
        file.write("\n1\n")
    proof.git("add", "-A")
    proof.git("commit", "-qm", name)


def test_it_goes_on_where_it_was_stopped(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    statuses: dict[str, int | None] = {"tests/test_a.py": 0, "tests/ops/test_b.py": 1}

    def run(step: Step, logs: Path) -> Outcome:
        name = step.command[-1]
        assert dict(step.environment) == {"GENFUSE_PROOF": "1"}
        ran.append(name)
        (logs / "log").write_text("....\n===== 4 passed, 1 skipped in 3.21s =====\n")
        return Outcome(name, statuses[name], 3.2, "log")

    monkeypatch.setattr(proof, "run", run)
    result = repository / "bench" / "results" / "proof.json"
    assert files() == ["tests/ops/test_b.py", "tests/test_a.py"]
    assert not prove(files(), result)
    kept = json.loads(result.read_text())
    first = proof.git("rev-parse", "HEAD")
    assert kept["machine"]["cores"] >= 1
    a = {"status": 0, "tests": "4 passed, 1 skipped", "seconds": 3.2, "commit": first}
    assert kept["files"]["tests/test_a.py"] == a
    commit(repository, "bench/results/y")  # results may be committed meanwhile
    statuses["tests/ops/test_b.py"] = 0
    ran.clear()
    assert prove(files(), result) and ran == ["tests/ops/test_b.py"]
    ran.clear()
    assert prove(files(), result) and not ran
    commit(repository, "tests/ops/test_b.py")
    assert prove(files(), result) and ran == ["tests/ops/test_b.py"]  # what depends on no change stays proven
    assert json.loads(result.read_text())["files"]["tests/test_a.py"] == a
    commit(repository, "kernels/genfuse_kernels/op/spec.py")
    statuses["tests/test_a.py"] = None
    ran.clear()
    assert not prove(files(), result) and ran == ["tests/test_a.py"]
    kept = json.loads(result.read_text())["files"]["tests/test_a.py"]
    assert kept["commit"] != first and kept["tests"] == "took too long"
    result.write_text("no JSON")
    ran.clear()
    prove(files(), result)
    assert ran == files()


def test_a_proof_is_of_a_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["proof"])
    monkeypatch.setattr(proof, "prove", lambda names, result: True)
    (repository / "bench/results/x").write_text("2")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    (repository / "tests/test_a.py").write_text("2")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
