"""What a talking head is measured at: its frames of new faces beside those that the faces, drawn from parts, have."""

from __future__ import annotations

from genfuse.data.faces import KNOWN, NEW
from genfuse.systems.talking_head import TalkingHead

FRAMES = 24


def of_heads(system: TalkingHead) -> dict[str, float]:
    """Mean absolute differences, pixels in [-1, 1], over the speaking track of every face that was held out.

    ``distance`` to the face's own frames; ``distance_to_another_face`` to the next face's frames, with the same
    landmarks; ``distance_if_still`` of the face's frames to its frame a third of the track later.
    """
    made, truth = [], []
    for who in range(KNOWN, KNOWN + NEW):
        shown = system.sample(FRAMES, label=f"face {who}").shown
        assert shown is not None
        _, frames, own = shown.chunk(3)
        made.append(frames)
        truth.append(own)
    pairs = {
        "distance": (made, truth),
        "distance_to_another_face": (made, [*truth[1:], truth[0]]),
        "distance_if_still": (truth, [own.roll(FRAMES // 3, 0) for own in truth]),
    }
    return {
        name: round(
            sum((a - b).abs().mean().item() for a, b in zip(*each, strict=True)) / NEW,
            4,
        )
        for name, each in pairs.items()
    }
