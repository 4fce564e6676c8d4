"""`make proof`: every case of every test, a file at a time; what is proven already is not run again.

    python -m genfuse_bench.proof [FILE ...]     all of tests/, or some files of it

Each file's outcome goes to bench/results/proof.json with the commit that it is of, to be committed beside it. It stands
until one of the paths changes that the file depends on (`dependencies`), so a proof goes on while others commit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from genfuse_bench.dependencies import dependencies
from genfuse_bench.machine import Machine
from genfuse_bench.steps import ROOT, Outcome, Step, run

RESULT = ROOT / "bench" / "results" / "proof.json"
HELD = (0, 5)
"""Exit statuses of pytest: all passed; nothing was collected, which a machine without an optional package may give."""


def git(*arguments: str) -> str:
    """git's answer; CalledProcessError where it has none."""
    answer = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def files() -> list[str]:
    """All test files but those that others run in processes of their own."""
    found = git("ls-files", "tests/test_*.py", "tests/**/test_*.py").splitlines()
    return sorted(name for name in found if not {"interpreted", "emulated"} & set(Path(name).parts))


def kept(result: Path) -> dict[str, Any]:
    """Each file's outcome in earlier runs."""
    try:
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def proven(name: str, outcome: dict[str, Any] | None, commit: str) -> bool:
    """Whether a file held, and nothing that it depends on has changed since."""
    if outcome is None or outcome["status"] not in HELD:
        return False
    try:
        return not git("diff", "--name-only", outcome["commit"], commit, "--", *dependencies(ROOT, name))
    except (KeyError, subprocess.CalledProcessError):  # of a commit that this repository does not have
        return False


def prove(names: list[str], result: Path) -> bool:
    """Run what is not proven yet, writing down each file's outcome as it comes; whether all hold."""
    commit, machine = git("rev-parse", "HEAD"), Machine.here()
    found = {name: of for name, of in kept(result).items() if (ROOT / name).is_file()}
    missing = [name for name in names if not proven(name, found.get(name), commit)]
    print(f"{machine}\n{len(names) - len(missing)} of {len(names)} files are proven already", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in missing:
            print(name, end=" ... ", flush=True)
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
            step = Step(name.replace("/", "-"), command, environment=(("GENFUSE_PROOF", "1"),))
            outcome = run(step, Path(folder))
            text = (Path(folder) / outcome.log).read_text(encoding="utf-8", errors="replace")
            if outcome.status not in HELD:
                print(text, flush=True)
            found[name] = {**_outcome(outcome, text), "commit": commit}
            print(found[name]["tests"], flush=True)
            whole = {
                "machine": machine.describe(),
                "versions": machine.versions,
                "files": dict(sorted(found.items())),
            }
            result.parent.mkdir(parents=True, exist_ok=True)
            result.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return all(found[name]["status"] in HELD for name in names)


def _outcome(outcome: Outcome, text: str) -> dict[str, Any]:
    last = (text.strip().splitlines() or [""])[-1]
    told = "took too long" if outcome.status is None else last.strip("= ").rpartition(" in ")[0] or last
    return {"status": outcome.status, "tests": told, "seconds": outcome.seconds}


def main() -> None:
    """Exit status 1 where a file does not hold, 2 where there is no commit that could be proven."""
    if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)bench/results"):
        print("the checkout has changes, and a proof is of a commit: commit them first", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if prove(sys.argv[1:] or files(), RESULT) else 1)


if __name__ == "__main__":
    main()
