"""What a training run came to, kept: ``python -m genfuse_bench.system_record RUN "COMMAND"``.

Writes ``bench/results/systems/<run's name>.json`` (or under ``--output``): the command, seed, time and settings of the
run, the last rows of its metrics, and what its samples are measured at; and beside it samples, as a picture or a text.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from genfuse import data, env, systems
from genfuse.data import Data, ImageDataset, Mixture, TextDataset
from genfuse.data.atomic import atomic_path
from genfuse.data.grid import save_grid
from genfuse.data.scatter import scatter
from genfuse.evaluate import PerceptualDistance, diversity, encoder, fid, frechet_distance
from genfuse.systems import ngrams
from genfuse.systems.cogan import CoGAN
from genfuse.systems.ebgan import EBGAN
from genfuse.systems.singan import SinGAN
from genfuse.systems.talking_head import TalkingHead
from genfuse.systems.text_style import TextStyle
from genfuse.systems.text_to_image import TextToImage
from genfuse.systems.translation import Translator
from genfuse.train import System, checkpoint
from genfuse.train.metrics import rows
from genfuse_bench.anomaly_record import of_anomalies
from genfuse_bench.head_record import of_heads
from genfuse_bench.pair_record import of_pairs
from genfuse_bench.translation_record import of_translations

COUNT = 1000
"""Samples that are measured."""
PAUSE = 120.0
"""Seconds between rows of a log that a picture or a checkpoint may take; what is longer is a pause."""
ROWS = 8
"""Names of many that a picture shows, a row each."""
CONDITIONAL = ("cgan", "msgan")
"""Systems whose samples are of a label."""
RADIUS = 0.25
"""Around a mode, within which a point is its own."""


def record(run: Path, command: str, folder: Path) -> dict[str, Any]:
    """Measure a run's newest checkpoint, and write what is kept of it."""
    loaded = checkpoint.load(run)
    system = systems.load(run)
    logged = rows(run)
    size = max(system.image_shape[1:]) if len(system.image_shape) == 3 else None
    source = data.load(loaded.metadata["data"]["name"], size)
    found = {
        "system": system.name,
        "command": command,
        "seed": loaded.metadata["train"]["seed"],
        "steps": loaded.step,
        "seconds": round(_trained([row["time"] for row in logged])),
        "machine": f"{env.processor()}, shared with other work",
        "config": loaded.metadata["config"],
        "metrics": _last(logged),
        "measured": _measured(system, source),
    }
    pairs_or_one = (Translator, CoGAN, TalkingHead, SinGAN)
    if isinstance(source, ImageDataset) and not isinstance(system, pairs_or_one):
        found["over_steps"] = _over_steps(run, source, logged)
    if isinstance(source, TextDataset):
        with atomic_path(folder / f"{run.name}.txt") as temporary:
            temporary.write_text("\n".join(system.sample(40).texts) + "\n", encoding="utf-8")
    else:
        found |= _shown(system, folder / f"{run.name}.png", is_pictures=size is not None)
    with atomic_path(folder / f"{run.name}.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _trained(times: list[float]) -> float:
    """Seconds between the rows of a log, without the pauses of a run that was resumed."""
    between = [after - before for before, after in pairwise(times)]
    pause = max(PAUSE, 10 * median(between or [0.0]))
    return sum(seconds for seconds in between if seconds < pause)


def _shown(system: System[Any], to: Path, *, is_pictures: bool) -> dict[str, Any]:
    """Saves samples as a picture, of many names a row each of some; what the picture's rows are of."""
    if isinstance(system, TextToImage) and len(system.class_names) > ROWS * 10:
        names = system.class_names[:: len(system.class_names) // ROWS][:ROWS]
        save_grid(torch.cat([system.sample(10, label=name).images for name in names]), to, 10, 2)
        return {"rows": names}
    made = system.sample(
        24 if isinstance(system, Translator | TalkingHead) else 80 if is_pictures else 10_000
    )
    shown = made.images if made.shown is None else made.shown
    columns = made.columns or (10 if is_pictures else None)
    save_grid(shown if is_pictures else scatter(shown), to, columns, 2)
    return {}


def _samples(system: System[Any]) -> Tensor:
    """`COUNT` of them; of many names, from all over their list."""
    names = len(system.class_names) if isinstance(system, TextToImage) else 0
    every = max(1, names // COUNT)
    return system.sample(COUNT * every, batch=250).images[::every]


def _measured(system: System[Any], source: Data) -> dict[str, Any]:
    if isinstance(source, Mixture):
        return _of_points(system, source)
    if isinstance(source, TextDataset):
        return _of_style(system, source) if isinstance(system, TextStyle) else _of_texts(system, source)
    if isinstance(system, Translator):
        return of_translations(system, source)
    if isinstance(system, TalkingHead):
        return of_heads(system)
    if isinstance(system, CoGAN):
        return of_pairs(system, source, COUNT)
    if len(source) == 1:
        return _of_photograph(system, source)
    found = _of_pictures(system, source)
    return found | of_anomalies(system, source) if isinstance(system, EBGAN) else found


def _last(logged: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of each number over the last tenth of the rows."""
    part = logged[-max(1, len(logged) // 10) :]
    names = [name for name in part[-1] if name not in ("step", "time")]
    return {name: round(sum(row[name] for row in part) / len(part), 4) for name in names}


def _of_pictures(system: System[Any], source: ImageDataset) -> dict[str, Any]:
    """Distances to the data by the shipped encoder; where samples have labels, how many it reads as they are meant."""
    network = encoder()
    made = _samples(system)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    real, other = source.images[order[: len(source) // 2]], source.images[order[len(source) // 2 :]]
    found: dict[str, Any] = {
        "fid": round(fid(network, made, source.images).item(), 3),
        "fid_of_halves_of_the_data": round(fid(network, real, other).item(), 3),
    }
    if source.name == "digits":
        with torch.no_grad():
            read = torch.cat([network.classify(part).argmax(1) for part in torch.split(made, 250)])
            true = network.classify(source.images[9::10]).argmax(1)
        found["digits_read"] = torch.bincount(read, minlength=10)[:10].tolist()
        found["held_out_accuracy_of_the_encoder"] = _share(true == source.labels[9::10])
        if system.name in CONDITIONAL:
            labels = torch.arange(COUNT) % 10
            found["label_agreement"] = _share(read == labels)
            found |= _diversity_of_a_label(made, labels, source)
    return found


def _over_steps(run: Path, source: ImageDataset, logged: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each checkpoint that the run has kept, oldest first: its samples' distance to the data, and a critic's mean
    estimate of it since the one before."""
    found, before = [], 0
    for folder in checkpoint.step_folders(run):
        step = int(folder.name.removeprefix("step-"))
        distance = fid(encoder(), _samples(systems.load(folder)), source.images)
        row = {"step": step, "fid": round(distance.item(), 3)}
        estimates = [
            each["distance"] for each in logged if before < each["step"] <= step and "distance" in each
        ]
        if estimates:
            row["critic_estimate"] = round(sum(estimates) / len(estimates), 3)
        found.append(row)
        before = step
    return found


def _diversity_of_a_label(made: Tensor, labels: Tensor, source: ImageDataset) -> dict[str, float]:
    """Mean distance of pairs of one label, of samples and of the data, and the standard error of both."""
    distance = PerceptualDistance(encoder())
    of_samples = diversity(distance, made, labels, pairs=4000)
    of_data = diversity(distance, source.images, source.labels, pairs=4000)
    return {
        "diversity_of_a_label": round(of_samples[0], 4),
        "diversity_of_a_label_of_the_data": round(of_data[0], 4),
        "standard_error_of_diversity": round(max(of_samples[1], of_data[1]), 4),
    }


def _of_photograph(system: System[Any], source: ImageDataset) -> dict[str, Any]:
    """The distance of its patches' distribution to the samples', beside that of the photograph's halves."""

    def patches(images: Tensor) -> Tensor:
        return torch.nn.functional.unfold(images, 5).mT.flatten(0, 1)

    made, width = system.sample(50).images, source.image_shape[2] // 2
    left, right = source.images[..., :width], source.images[..., -width:]
    return {
        "patch_distance": round(frechet_distance(patches(made), patches(source.images)).item(), 3),
        "patch_distance_of_its_halves": round(frechet_distance(patches(left), patches(right)).item(), 3),
        "deviation_of_a_pixel": round(made.std(0).mean().item(), 3),
    }


def _of_points(system: System[Any], source: Mixture) -> dict[str, Any]:
    """Of each mode's part of the samples, how much it has: 1 would be all of it."""
    parts = len(source.centres) * source.shares(system.sample(10_000, batch=10_000).images, RADIUS)
    return {
        "modes": len(parts),
        "modes_with_a_quarter_of_their_part": int((parts > 0.25).sum()),
        "least_part": round(parts.min().item(), 3),
        "share_near_a_mode": round(parts.mean().item(), 3),
    }


def _of_texts(system: System[Any], source: TextDataset) -> dict[str, Any]:
    """Statistics of lines beside those that one half of the data has beside the other."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    half, other = source.tokens[order[::2]], source.tokens[order[1::2]]
    made = system.sample(COUNT).images
    counts = [ngrams.bigrams(tokens, len(source.alphabet)) for tokens in (made, source.tokens, half, other)]
    lines = {tuple(line) for line in source.tokens.tolist()}
    return {
        "bigram_divergence": round(ngrams.jensen_shannon(counts[0], counts[1]).item(), 4),
        "bigram_divergence_of_halves_of_the_data": round(
            ngrams.jensen_shannon(counts[2], counts[3]).item(), 4
        ),
        "known_4_grams": round(ngrams.known(made, source.tokens, 4), 4),
        "known_4_grams_of_halves_of_the_data": round(ngrams.known(half, other, 4), 4),
        "different_lines": len({tuple(line) for line in made.tolist()}) / COUNT,
        "lines_of_the_data": sum(tuple(line) in lines for line in made.tolist()) / COUNT,
    }


def _of_style(system: TextStyle, source: TextDataset) -> dict[str, Any]:
    """Of texts in the other style: those with its words and none of their own's; and other words that stayed."""
    counts = [
        torch.bincount(source.tokens[source.styles == s].flatten(), minlength=len(source.alphabet))
        for s in (0, 1)
    ]
    marks = [(counts[s] > 50) & (counts[1 - s] == 0) for s in (0, 1)]
    transferred, kept = [], []
    for wanted in (0, 1):
        given = source.tokens[source.styles != wanted]
        made = system.generator.eval().rewrite(given, wanted)
        transferred.append(marks[wanted][made].any(1) & ~marks[1 - wanted][made].any(1))
        kept.append((made == given)[~marks[1 - wanted][given]])
    return {"transferred": _share(torch.cat(transferred)), "other_words_kept": _share(torch.cat(kept))}


def _share(right: Tensor) -> float:
    return round(right.double().mean().item(), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("command")
    parser.add_argument("--output", type=Path, default=Path("bench/results/systems"))
    given = parser.parse_args()
    print(json.dumps(record(given.run, given.command, given.output)["measured"]))
