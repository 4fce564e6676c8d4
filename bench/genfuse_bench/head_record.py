"""What a talking head is measured at: its frames of new faces beside those that the faces, drawn from parts, have."""

from __future__ import annotations

import torch

from genfuse.data.faces import KNOWN, NEW
from genfuse.systems.talking_head import TalkingHead

FRAMES = 24


def of_heads(system: TalkingHead) -> dict[str, float]:
    """Mean absolute differences, pixels in [-1, 1], over the speaking track of every face that was held out.

    ``distance`` to the face's own frames; ``distance_to_another_face`` to the next face's frames, with the same
    landmarks; ``distance_if_still`` of the face's frames to its frame a third of the track later.
    """
    shown = [system.sample(FRAMES, label=f"face {KNOWN + who}").shown for who in range(NEW)]
    _, made, truth = torch.stack([rows for rows in shown if rows is not None]).chunk(3, 1)
    apart = {
        "distance": made - truth,
        "distance_to_another_face": made - truth.roll(-1, 0),
        "distance_if_still": truth - truth.roll(FRAMES // 3, 1),
    }
    return {name: round(each.abs().mean().item(), 4) for name, each in apart.items()}
