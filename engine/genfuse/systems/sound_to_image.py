"""Sound to image (Wan et al. 2019, arXiv:1808.04108): pictures of what is heard, by a critic that listens.

Sound (section 2.1):   a spectrogram, through convolutions of each side's own
Critic (section 2.2):  D(x, s) of a picture and its sound is real; of a fake one, and of a real picture with another
                       class's sound, fake: as in text to image
Data:                  the words for the classes, spoken by a synthesiser's voices at several speeds and pitches

One voice is kept from training: samples are of what it says.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor, nn

from genfuse.data import speech
from genfuse.systems import networks
from genfuse.systems.text_to_image import TextToImage, TextToImageConfig
from genfuse.train import RunConfig, Step


class Listener(nn.Module):
    """Spectrograms (N, BANDS, FRAMES) → (N, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        shape = (
            1,
            speech.BANDS,
            speech.FRAMES,
        )  # normalised, or what is heard would be drowned by the latents
        self.network = networks.critic("cnn", shape, width, norm="instance", outputs=outputs)

    def forward(self, sounds: Tensor) -> Tensor:
        """As the class says."""
        heard: Tensor = self.network(sounds[:, None])
        return heard


class SoundToImage(TextToImage):
    """As :class:`TextToImage`, of spectrograms in place of sentences; ``text`` is said before it is heard."""

    name = "sound_to_image"

    def listener(self) -> nn.Module:
        return Listener(self.config.width // 2, self.config.projection)

    @cached_property
    def sounds(self) -> Tensor:
        """(classes, manners, BANDS, FRAMES): how the voices of training say each class's name."""
        return speech.spoken(self.class_names)

    def told(self, now: Step, labels: Tensor) -> Tensor:
        manners = now.integers(self.sounds.shape[1], len(labels))
        return self.sounds[labels, manners]

    def described(self, text: str) -> Tensor:
        return speech.spectrogram(speech.say(text))[None]

    @cached_property
    def names(self) -> Tensor:
        """(classes, BANDS, FRAMES): how a voice says them that was not trained on."""
        return speech.spoken(self.class_names, (speech.UNHEARD,))[:, 4]

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[TextToImageConfig, RunConfig]:
        """What suits digits; nothing lies between two sounds."""
        return TextToImageConfig(width=32, interpolation=0.0), RunConfig(steps=4000)
