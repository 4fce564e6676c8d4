"""`genfuse evaluate`: how good a checkpoint's pictures are, or those of a folder."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

import genfuse
from genfuse import env, processes
from genfuse.commands.options import GuidanceOption, SamplerOption, StepsOption, own_options
from genfuse.data import ImageDataset
from genfuse.data.atomic import atomic_path, check_path
from genfuse.evaluate.evaluation import METRICS, Evaluation, Score
from genfuse.names import check_name
from genfuse.ops import check

BATCH = 256
Part = tuple[int, Tensor, Tensor | None]
"""Index of the first picture, pictures (n, C, H, W), and the labels (n,) that they were made for."""


@dataclass(frozen=True)
class Source:
    """Pictures to evaluate: how many, of which size, what the report says of them, and how to get this process's."""

    count: int
    size: int | None
    described: dict[str, Any]
    parts: Callable[[int, int], Iterator[Part]]


def evaluate(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint, a run's folder, or a folder of pictures; the shipped checkpoint if left out."
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(help="What it was trained on: openmoji, digits, or a folder.")
    ] = "openmoji",
    metrics: Annotated[str, typer.Option(help=f"Of {','.join(METRICS)}; all but clip if left out.")] = "",
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=6, help="Pictures; 2000 of a checkpoint, all of a folder."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Height and width of a folder's pictures.")] = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="What makes features: genfuse (the shipped one) or inception (the standard FID's)."
        ),
    ] = "genfuse",
    weights: Annotated[
        Path | None,
        typer.Option(help="Of the encoder; the shipped ones, or PyTorch's hub directory, if left out."),
    ] = None,
    clip: Annotated[
        str, typer.Option(help="CLIP for the metric clip: a folder, or a name in Hugging Face's cache.")
    ] = "openai/clip-vit-base-patch16",
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    seed: Annotated[int, typer.Option(help="Picture i has seed SEED + i; draws follow it too.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    capacity: Annotated[
        int, typer.Option(min=6, help="Pictures kept for what needs the samples themselves, drawn evenly.")
    ] = 10_000,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The report, JSON; the nearest pairs go beside it, as a PNG."),
    ] = Path("evaluation.json"),
) -> None:
    """Measure how good pictures are beside those that a model was trained on: quality, diversity, copies.

    Under torchrun processes share the pictures; the report is the same, to rounding.
    """
    from genfuse.data import load, save_grid

    begin = time.perf_counter()
    names = [name.strip() for name in metrics.split(",") if name.strip()] or None
    for name in names or ():
        check_name("metrics", name, METRICS)
    check_path("output", output)
    sampling: dict[str, Any] = {"sampler": sampler, "steps": steps, "guidance": guidance, "batch": batch}
    sampling["device"] = str(check.device("device", processes.place(device)))
    found = _source(source, count, size, seed, sampling)
    dataset = load(data, found.size)
    if not isinstance(dataset, ImageDataset):
        raise ValueError(f"data is {data!r}, points of the plane, expected pictures")
    dataset = dataset.view(dataset.views - 1)  # of pairs, what is wanted
    network = _network(encoder, weights)
    chosen = _clip(clip) if "clip" in (names or ()) else None
    evaluation = Evaluation(dataset, network, names, capacity=capacity, seed=seed, clip=chosen)
    with processes.joined(device) as every:
        console = Console(quiet=not every.is_first)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("pictures", total=found.count)
            for first, images, labels in found.parts(every.rank, every.world):
                evaluation.update(first, images, labels)
                progress.update(task, completed=min(first + len(images), found.count))
        evaluation.over_processes()
    if not every.is_first:
        return
    scores = evaluation.scores()
    console.print(
        _table(scores, f"{found.count} pictures of {found.described['source']} beside {dataset.name}")
    )
    described = {
        "command": " ".join(["genfuse", *sys.argv[1:]]),
        **found.described,
        "count": found.count,
        "seed": seed,
        "data": {"name": dataset.name, "pictures": len(dataset), "digest": dataset.digest()},
        "encoder": encoder,
        "scores": {name: _plain(score) for name, score in scores.items()},
        "seconds": round(time.perf_counter() - begin, 1),
        "processor": env.processor(),
        "versions": {"genfuse": genfuse.__version__, "torch": torch.__version__},
    }
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(described, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    written = [str(output)]
    if (pairs := evaluation.pairs()) is not None:
        picture = output.with_suffix(".png")
        save_grid(pairs, picture, columns=12, scale=2)
        written.append(f"{picture} (pictures nearest to a training picture, each with that one)")
    console.print("-> " + ", ".join(written), highlight=False)


def _source(
    path: Path | None, count: int | None, size: int | None, seed: int, sampling: dict[str, Any]
) -> Source:
    """A folder that holds no checkpoint is one of pictures."""
    from genfuse.train import checkpoint

    holds_one = path is None or not path.is_dir()
    if path is not None and path.is_dir():
        holds_one = bool(checkpoint.step_folders(path)) or (path / checkpoint.MODEL_FILE).is_file()
    if holds_one:
        if size is not None:
            raise ValueError(
                f"size is {size}, but a checkpoint's pictures have one of their own: leave it out"
            )
        return _from_checkpoint(path, 2000 if count is None else count, seed, sampling)
    assert path is not None
    return _from_folder(path, count, size)


def _from_checkpoint(path: Path | None, count: int, seed: int, sampling: dict[str, Any]) -> Source:
    from genfuse import systems
    from genfuse.systems.sampling import SHIPPED

    system = systems.load(path or SHIPPED)
    if len(system.image_shape) != 3:
        raise ValueError(f"{path} makes points of the plane, expected a system of pictures")
    options = own_options(system, **sampling)
    classes = max(1, len(system.class_names))
    # Classes come in turn, so parts of whole turns give each picture the class that `genfuse sample` gives it.
    size = classes * math.ceil(BATCH / classes)

    described: dict[str, Any] = {"source": str(path or SHIPPED.name), "system": system.name}
    described["sampling"] = options

    def parts(rank: int, world: int) -> Iterator[Part]:
        seconds, pictures = 0.0, 0
        for first in range(rank * size, count, world * size):
            n = min(size, count - first)
            made = system.sample(n, seed=seed + first, **options)
            seconds, pictures = seconds + made.seconds, pictures + n
            described["milliseconds_a_picture"] = round(1e3 * seconds / pictures, 4)
            yield first, made.images, torch.arange(n) % classes if system.class_names else None

    return Source(count, system.image_shape[1], described, parts)


def _from_folder(path: Path, count: int | None, size: int | None) -> Source:
    from genfuse.data import folder

    pictures = folder(path, size or 32)
    if count is not None and count > len(pictures):
        raise ValueError(f"count is {count}, but {path} holds {len(pictures)} pictures")
    count = len(pictures) if count is None else count

    def parts(rank: int, world: int) -> Iterator[Part]:
        for first in range(rank * BATCH, count, world * BATCH):
            part = slice(first, min(first + BATCH, count))
            yield first, pictures.images[part], pictures.labels[part]

    return Source(count, size or 32, {"source": str(path)}, parts)


def _network(name: str, weights: Path | None) -> Any:
    from genfuse.evaluate import encoder, inception

    check_name("encoder", name, ("genfuse", "inception"))
    if name == "inception":
        return inception(weights)
    return encoder() if weights is None else encoder(weights)


def _clip(name: str) -> tuple[Any, Any]:
    from genfuse.evaluate import clip

    return clip(name)


def _table(scores: dict[str, Score], title: str) -> Table:
    table = Table("metric", "value", "±", "real, or expected", "better", title=title)
    for column in table.columns[1:4]:
        column.justify = "right"
    for name, score in scores.items():
        numbers = (score.value, score.deviation, score.reference)
        table.add_row(name, *("" if number is None else f"{number:.4g}" for number in numbers), score.better)
    return table


def _plain(score: Score) -> dict[str, Any]:
    """For JSON, which has no NaN and no infinity."""
    values = dataclasses.asdict(score).items()
    finite = {k: v for k, v in values if v is not None and (isinstance(v, str) or math.isfinite(v))}
    return {"value": None, **finite}
