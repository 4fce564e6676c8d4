"""`genfuse lab`: what `new` writes passes `check`; what is wrong, or reads elsewhere, is named by its own line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genfuse.lab import check, child, scaffold
from genfuse.lab.contract import OPS
from genfuse.lab.kernel_file import read
from genfuse_bench import modulated_ladder
from genfuse_bench.lab import leaderboard
from genfuse_bench.lab_command import app
from genfuse_bench.machine import Machine
from genfuse_bench.timing import Effort
from triton_proof.seeds import rotating


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def lab(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output + (result.stderr if result.stderr_bytes else "")


@pytest.mark.parametrize("op", [OPS[i] for i in rotating(2, len(OPS))])
def test_a_new_python_file_of_any_op_passes(op, tmp_path):
    assert lab("new", op, "mine", "--backend", "python")[0] == 0
    code, said = lab("check", "mine.py", "--cases", 8)
    assert code == 0 and f"{op}: passed" in said, said


CPP = sorted(path.stem for path in scaffold.KERNELS.glob("*.cpp"))


@pytest.mark.parametrize("op", [CPP[i] for i in rotating(1, len(CPP))])
def test_a_new_cpp_file_passes(op):
    assert lab("new", op, "mine.cpp")[0] == 0
    code, said = lab("check", "mine.cpp", "--cases", 12, "--no-sanitize")
    assert code == 0 and f"{op}: passed" in said, said


def test_a_board_that_nobody_wrote_says_what_writes_it():
    code, said = lab("board", "norm_stats")
    assert code == 1 and "genfuse lab bench FILE --record" in said


def test_a_board_shows_the_best_undisturbed_run_of_each(tmp_path):
    def line(who, us, contended):
        named = {"shape": [2, 3], "dtype": "float32", "threads": 2, "who": who, "hash": None, "error": 1e-7}
        return json.dumps(named | {"us": us, "contended": contended})

    path = leaderboard(tmp_path / "leaderboard", "norm_stats", Machine.here())
    path.parent.mkdir(parents=True)
    lines = [line("a", 30, False), line("a", 10, True), line("a", 20, False), line("b", 5, True)]
    path.write_text("\n".join(lines))
    code, said = lab("board", "norm_stats")
    rows = [row.split()[5:] for row in said.splitlines() if "float32" in row]
    assert (
        code == 0
        and [row[0] for row in rows] == ["5", "20"]
        and [row[2:] for row in rows] == [["contended"], []]
    )


def test_a_file_that_is_there_stays():
    assert lab("new", "norm_stats", "mine")[0] == 0
    code, said = lab("new", "norm_stats", "mine")
    assert code == 1 and "is there already" in said


def test_a_wrong_kernel_fails_and_has_no_time(tmp_path):
    lab("new", "norm_direction", "mine", "--backend", "python")
    path = tmp_path / "mine.py"
    text = path.read_text().replace(
        "store(given[name], made[name])", "store(given[name], made[name] * 1.001)"
    )
    path.write_text(text)
    code, said = lab("check", "mine.py", "--cases", 4)
    assert code == 1 and "times the error allowed" in said
    code, said = lab("bench", "mine.py", "--shapes", "2x3x8x8", "--record")
    assert code == 1 and "wrong in" in said
    rows = [
        json.loads(line) for line in next(tmp_path.glob("leaderboard/*/*.jsonl")).read_text().splitlines()
    ]
    assert (
        "mine.py" not in [row["who"] for row in rows] and {"commit", "versions", "machine"} <= rows[0].keys()
    )


def test_a_read_past_the_end_is_found_at_its_line(tmp_path):
    text = """#include "genfuse/norm_direction.h"
GENFUSE_KERNEL(args) {
    static double room[4];
    volatile int64_t past = 4 + genfuse::numel(args.norms) * 0;
    genfuse::store(args.norms, 0, room[past]);
    return nullptr;
}
"""
    (tmp_path / "mine.cpp").write_text(text)
    outcomes = child.outcomes(read(tmp_path / "mine.cpp"), 2)
    assert "mine.cpp:5: " in outcomes[-1].problem, outcomes


CUDA = sorted(path.stem for path in scaffold.KERNELS.glob("*.cu"))


@pytest.mark.parametrize("op", [CUDA[i] for i in rotating(1, len(CUDA))])
def test_a_new_cuda_file_is_right_on_the_emulation(op, tmp_path):
    path = scaffold.new(op, tmp_path / "mine", "cuda")
    outcomes = child.outcomes(read(path), 4)
    assert check.verdict(outcomes) is None


ROOT = Path(__file__).parents[2]
STEPS = sorted(path for path in (ROOT / "bench" / "ladders").rglob("*.cpp") if not path.is_symlink())


@pytest.mark.parametrize("step", [STEPS[i] for i in rotating(1, len(STEPS))], ids=lambda step: step.stem)
def test_a_step_of_a_ladder_is_right(step):
    assert check.verdict(list(check.check(read(step), 8))) is None


@pytest.mark.parametrize("op", [*OPS, "modulated_conv2d"])
def test_an_op_has_a_ladder_and_its_readme_gives_each_step_a_number(op):
    steps = sorted(path.name for path in (ROOT / "bench" / "ladders" / op).iterdir() if path.is_file())
    assert len(steps) >= 2 and steps[0].startswith("1_")
    readme = (ROOT / "kernels" / "genfuse_kernels" / op / "README.md").read_text()
    table = re.findall(r"^\| `?([\w.]+)`? \|.*\| ([\d.]+)[^|]* \|$", readme.split("## The ladder")[1], re.M)
    assert [who for who, _ in table if who != "PyTorch"] == [*steps, "genfuse"]


def test_a_ladder_in_python_is_its_definition_and_measured_beside_ours():
    steps = sorted((ROOT / "bench" / "ladders" / "modulated_conv2d").glob("*.py"))
    rows = modulated_ladder.race(steps, [(2, 5, 6, 7)], Effort(1, 0.005, 0.01))
    assert [row.who for row in rows] == [*(path.name for path in steps), "genfuse cpu"]
    assert all(row.us and row.refused is None and row.error < 1e-5 for row in rows)


def test_a_wrong_version_of_a_ladder_in_python_has_no_time(tmp_path):
    (tmp_path / "1.py").write_text("def modulated_conv2d(x, weight, styles, noise, bias):\n    return x\n")
    (row, ours) = modulated_ladder.race([tmp_path / "1.py"], [(1, 2, 3, 3)], Effort(1, 0.005, 0.01))
    assert row.us is None and "expected at most" in row.refused and ours.us
    (tmp_path / "2.py").write_text("")
    with pytest.raises(ValueError, match="has no function modulated_conv2d"):
        modulated_ladder.race([tmp_path / "2.py"])
