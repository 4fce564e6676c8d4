"""Trains the encoder: ``python -m genfuse.evaluate.train_encoder WEIGHTS`` (needs the extra ``data``).

Everything random comes from seed 0, on one thread. A tenth of the pictures, every tenth, is held out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from genfuse.data import digits, openmoji
from genfuse.data.atomic import atomic_path
from genfuse.evaluate.encoder import SIZE, Encoder

EPOCHS = 24
BATCH = 64
RATE = 3e-3
_SHIFT = 3
"""Pictures are moved by up to so many pixels while training."""


def pictures() -> tuple[Tensor, Tensor, Tensor, int]:
    """Images (N, 3, 32, 32), labels (N,), whether each may be mirrored (N,), and how many of them are digits."""
    grey, emoji = digits(SIZE), openmoji(SIZE)
    images = torch.cat((grey.images.expand(-1, 3, -1, -1), emoji.images))
    labels = torch.cat((grey.labels, emoji.labels + len(grey.class_names)))
    return images, labels, torch.cat((grey.may_flip, emoji.may_flip)), len(grey)


def held_out(count: int) -> Tensor:
    """(count,) bool: every tenth picture."""
    return torch.arange(count) % 10 == 9


def varied(images: Tensor, may_flip: Tensor, generator: torch.Generator) -> Tensor:
    """Each moved a little, its edge repeated, and mirrored half of the time where it may be."""
    count = len(images)
    mirrored = may_flip & (torch.rand(count, generator=generator) < 0.5)
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    moved = torch.randint(-_SHIFT, _SHIFT + 1, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(SIZE) + moved).clamp(0, SIZE - 1)
    return images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(3, 1)


def train(epochs: int = EPOCHS) -> Encoder:
    """The encoder after so many epochs of AdamW, its learning rate by one cycle."""
    images, labels, may_flip, _ = pictures()
    chosen = (~held_out(len(images))).nonzero()[:, 0]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = Encoder(int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    batches = len(chosen) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * batches)
    for epoch in range(epochs):
        order = chosen[torch.randperm(len(chosen), generator=generator)]
        for batch in torch.split(order[: batches * BATCH], BATCH):
            logits = network.classify(varied(images[batch], may_flip[batch], generator))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    return network.eval()


@torch.no_grad()
def accuracies(network: Encoder) -> tuple[float, float]:
    """Of the held-out digits and of the held-out emoji, among all classes."""
    images, labels, _, of_digits = pictures()
    out = held_out(len(images))
    right = network.classify(images[out]).argmax(1) == labels[out]
    first = int(out[:of_digits].sum())
    return right[:first].double().mean().item(), right[first:].double().mean().item()


def main(path: Path) -> None:
    torch.set_num_threads(1)  # sums in one order
    network = train().half().float()  # what is measured is what is shipped
    of_digits, of_emoji = accuracies(network)
    with atomic_path(path) as temporary:
        save_file({name: tensor.half() for name, tensor in network.state_dict().items()}, temporary)
    print(f"held out: {of_digits:.1%} of the digits, {of_emoji:.1%} of the emoji are right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
