"""What `make reliability` runs for hours runs at all: a few cases of each, others every day."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from reliability import watched

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def fuzzed_calls() -> Any:
    found = importlib.util.spec_from_file_location("fuzzed_calls", FOLDER / "fuzzed_calls.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)  # as of a script
        found.loader.exec_module(module)
    return module


def test_fuzzed_calls(fuzzed_calls: Any) -> None:
    first = 10**9 + 400 * date.today().toordinal()
    ended = [fuzzed_calls.run(case) for case in range(first, first + 400)]
    assert {"answered", "refused"} <= set(ended)


def test_fuzzed_calls_find_what_is_written_beside_a_tensor(fuzzed_calls: Any) -> None:
    """The guard itself: a number before or behind a tensor shows."""
    for place in (0, -1):
        case = fuzzed_calls.Case(1)
        case.tensor(3, 4, dtype=torch.float32)
        ((whole, _),) = case.guards
        assert whole.dtype == torch.float32 and case.intact()
        whole[place] = 0
        assert not case.intact()


CHILD = """
import json, os, signal, sys
from reliability import watched
told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
progress = os.open(told["--progress"], os.O_WRONLY)
for case in range(int(told["--first"]), 10):
    watched.begin(progress, case)
    if case in (5, 8):
        os.kill(os.getpid(), signal.SIGKILL if case == 5 else signal.SIGSEGV)
    if case in (2, 9):
        print(json.dumps({"next": case + 1, "ended": {"answered": 3}, "defects": [], "peak_mib": case}), flush=True)
"""


def test_an_end_without_a_word_is_told_with_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    record = tmp_path / "record.jsonl"
    found = watched.watch([sys.executable, "-c", CHILD], 0, 60, record)
    assert [defect.split(",")[0] for defect in found.defects] == [
        "case 5: the process was ended by SIGKILL",
        "case 8: the process was ended by SIGSEGV",
    ]
    assert capsys.readouterr().out.splitlines() == found.defects
    last = json.loads(record.read_text().splitlines()[-1])
    assert (last["cases"], last["process ended"], last["over"]) == (10, 2, "time")
    assert last["peak_mib"] == 9


def test_killed_writes(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "killed_writes.py"), "--times", "3", "--folder", str(tmp_path)]
    run = subprocess.run([*command, "--seed", str(date.today().toordinal())], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("none lost") == 2
