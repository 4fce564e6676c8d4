"""`kill -9`, and a disk that is full, in the middle of writing checkpoints and caches: nothing lost, nothing half read.

    python tests/reliability/killed_writes.py --times 1000

Each time a process writes checkpoints, a kept array and measurements, over and over, until it is killed at a random
moment, or until a file meets a random limit of its size (RLIMIT_FSIZE: the write fails as on a full disk). Then the
newest checkpoint has to be whole, and no older than the last that was said to be written, and so have the caches.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from genfuse import measured
from genfuse.data.cache import cached_array
from genfuse.train import checkpoint

SIZE = 40_000  # numbers in a checkpoint's tensor


def write_on(run: Path, step: int, told: int, until: float = float("inf")) -> None:
    """Checkpoints from `step` to `until`, each then told of; an array and measurements between."""
    weight = torch.nn.Parameter(torch.zeros(SIZE))
    optimizer = torch.optim.Adam([weight])
    while step < until:
        with torch.no_grad():
            weight.fill_(step)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        optimizer.state[weight]["step"].fill_(step)  # as of a run that came here step by step
        weights = {"ema.weight": torch.full((SIZE,), float(step))}
        checkpoint.save_step(run, step, weights, {"step": step}, {"adam": optimizer}, keep=2)
        os.write(told, struct.pack("q", step))
        (run / "key.npz").unlink(missing_ok=True)
        cached_array("key", lambda: np.full(SIZE, 7))
        place = measured.Place(run / "measured" / "here.json", "build")
        measured.loaded(place)["linear", str(step % 50)] = measured.Measured(
            "linear", str(step % 50), "cpu", "", (), 1, 2
        )
        measured.save(place)
        step += 1


def child(run: Path, step: int, told: int, limit: int | None) -> None:
    """Writes until it is killed; with a limit until a write fails, which is what has to be raised."""
    code = 1
    try:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        write_on(run, step, told)
    except OSError:
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def check(run: Path, last: int) -> int:
    """The newest step, once it, and the caches, are seen to be whole and none that was told of is lost."""
    folders = checkpoint.step_folders(run)
    newest = int(folders[-1].name.removeprefix("step-")) if folders else 0
    assert newest >= last, f"step {last} was written, the newest is {newest}"
    for folder in folders:
        loaded = checkpoint.load(folder)
        assert torch.equal(loaded.tensors["ema.weight"], torch.full((SIZE,), float(loaded.step)))
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(SIZE))])
        checkpoint.restore_optimizers(loaded, {"adam": optimizer})
    np.testing.assert_array_equal(cached_array("key", lambda: np.full(SIZE, 7)), np.full(SIZE, 7))
    file = run / "measured" / "here.json"
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        assert kept["sha256"] == measured.digest(kept["measured"])
    return newest


def interrupt(run: Path, step: int, draw: random.Random, full: bool) -> int:
    """One process that writes, and its end; the newest step after it."""
    reading, writing = os.pipe()
    limit = draw.randrange(1, 24 * SIZE) if full else None
    process = os.fork()
    if process == 0:
        child(run, step, writing, limit)
    os.close(writing)
    if not full:
        time.sleep(draw.uniform(0, 0.1))
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1] if not full else wait_or_kill(process)
    told = os.read(reading, 1 << 20)
    os.close(reading)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "a write that failed raised something else than OSError"
    return check(run, struct.unpack_from("q", told, len(told) - 8)[0] if told else 0)


def wait_or_kill(process: int) -> int:
    """The end of a process whose writes fail; one whose limit is met by no file is killed after a while."""
    for _ in range(50):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    told = parser.parse_args()
    torch.set_num_threads(1)  # nothing that a fork would not take along
    draw = random.Random(told.seed)
    with (
        tempfile.TemporaryDirectory() as warm
    ):  # what the first step of an optimizer imports, every child has then
        os.environ["GENFUSE_CACHE"] = warm
        write_on(Path(warm), 1, os.open(os.devnull, os.O_WRONLY), until=3)
    for full in (False, True):
        run = Path(tempfile.mkdtemp(dir=told.folder))
        os.environ["GENFUSE_CACHE"] = str(run)
        newest = 0
        for _ in range(told.times):
            newest = interrupt(run, newest + 1, draw, full)
        what = "full disks" if full else "kills"
        print(
            f"{told.times} {what}: {newest} checkpoints written, each read back whole, none lost", flush=True
        )
        shutil.rmtree(run)


if __name__ == "__main__":
    main()
