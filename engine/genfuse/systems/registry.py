"""The systems by name, with the paper that each is of and what it is there to show."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from genfuse.errors import CheckpointError
from genfuse.names import check_name, unknown_name
from genfuse.train import checkpoint
from genfuse.train.system import System


@dataclass(frozen=True)
class Entry:
    """A line of the list.

    Attributes:
        class_name: of the system, in the module of its name.
        paper: authors, year and arXiv number.
        shows: what is to be seen.
        data: what it is trained on where the user says nothing.
    """

    class_name: str
    paper: str
    shows: str
    data: str = "digits"


SYSTEMS = {
    "gan": Entry(
        "GAN",
        "Goodfellow et al. 2014, arXiv:1406.2661",
        "two networks that play against each other; minimax and non-saturating; modes of a mixture",
    ),
    "dcgan": Entry(
        "DCGAN",
        "Radford et al. 2016, arXiv:1511.06434",
        "convolutions and batch norm; walks through the latents",
    ),
    "cgan": Entry(
        "CGAN",
        "Mirza and Osindero 2014, arXiv:1411.1784",
        "pictures of a class: concatenation or projection, mismatched pairs",
    ),
    "msgan": Entry(
        "MSGAN",
        "Mao et al. 2019, arXiv:1903.05628",
        "a conditional GAN whose generator seeks modes: pictures of a class that differ more",
    ),
    "wgan": Entry(
        "WGAN",
        "Arjovsky et al. 2017, arXiv:1701.07875",
        "an estimate of the distance that falls as samples get better; clipped weights",
    ),
    "wgan_gp": Entry(
        "WGANGP",
        "Gulrajani et al. 2017, arXiv:1704.00028",
        "the same by a gradient penalty; every mode of a mixture",
    ),
    "sngan": Entry(
        "SNGAN",
        "Miyato et al. 2018, arXiv:1802.05957",
        "spectral norm, carried over from step to step; hinge loss",
    ),
    "progressive": Entry(
        "ProgressiveGAN",
        "Karras et al. 2018, arXiv:1710.10196",
        "resolutions that fade in one after the other; equalised rates, minibatch deviation",
        "openmoji",
    ),
    "stylegan": Entry(
        "StyleGAN",
        "Karras et al. 2019 and 2020, arXiv:1812.04948 and 1912.04958",
        "styles from a mapping network, mixed and truncated; R1 and path lengths, lazily",
        "openmoji",
    ),
    "ebgan": Entry(
        "EBGAN",
        "Zhao et al. 2017, arXiv:1609.03126",
        "an autoencoder's error as energy; repelling; anomalies by their energy",
    ),
    "singan": Entry(
        "SinGAN",
        "Shaham et al. 2019, arXiv:1905.01164",
        "one photograph: samples of other sizes, painting, harmonisation, editing, super-resolution",
        "china",
    ),
    "text_to_image": Entry(
        "TextToImage",
        "Reed et al. 2016, arXiv:1605.05396",
        "pictures of sentences: matched and mismatched pairs, what lies between two sentences",
        "openmoji-names",
    ),
    "seqgan": Entry(
        "SeqGAN",
        "Yu et al. 2017, arXiv:1609.05473; de Masson d'Autume et al. 2019, arXiv:1905.09922",
        "text by policy gradient: a reward for every token, a baseline that moves along",
        "emoji-names",
    ),
    "text_style": Entry(
        "TextStyle",
        "Zhu et al. 2017, arXiv:1703.10593; Jang et al. 2017, arXiv:1611.01144",
        "praise turned to blame and back, from texts that are no pairs: a cycle through the Gumbel softmax",
        "opinions",
    ),
    "sound_to_image": Entry(
        "SoundToImage",
        "Wan et al. 2019, arXiv:1808.04108",
        "digits that are heard: spectrograms of spoken words, a voice that was not trained on",
    ),
    "talking_head": Entry(
        "TalkingHead",
        "Zakharov et al. 2019, arXiv:1905.08233",
        "a face of which four pictures are seen, driven by a track of landmarks",
        "faces",
    ),
    "autoencoder": Entry(
        "PlainAutoencoder",
        "Hinton and Salakhutdinov 2006",
        "pictures through a narrow code; codes that are not normal",
    ),
    "vae": Entry(
        "VAE",
        "Kingma and Welling 2014, arXiv:1312.6114",
        "a bound of the likelihood; codes that are normal; beta",
    ),
    "glo": Entry(
        "GLO",
        "Bojanowski et al. 2018, arXiv:1707.05776",
        "a code a picture, learned with the generator; neither critic nor encoder",
    ),
    "gon": Entry(
        "GON",
        "Bond-Taylor and Willcocks 2021, arXiv:2007.02798",
        "the decoder encodes: one gradient step from the origin, differentiated twice",
    ),
    "ddpm": Entry(
        "DDPM",
        "Ho et al. 2020, arXiv:2006.11239",
        "denoising diffusion, by class and with guidance; every sampler",
        "openmoji",
    ),
    "pix2pix": Entry(
        "Pix2Pix",
        "Isola et al. 2017, arXiv:1611.07004",
        "a picture from a picture, by pairs: line art coloured; without the critic blurred",
        "openmoji-pairs",
    ),
    "cyclegan": Entry(
        "CycleGAN",
        "Zhu et al. 2017, arXiv:1703.10593",
        "line art and colour of other emoji, one photograph's style and another's: without pairs",
        "openmoji-unpaired",
    ),
    "stargan": Entry(
        "StarGAN",
        "Choi et al. 2018, arXiv:1711.09020",
        "several domains, one generator that is told which: five skin tones",
        "openmoji-tones",
    ),
    "cogan": Entry(
        "CoGAN",
        "Liu and Tuzel 2016, arXiv:1606.07536",
        "pairs of two domains, learnt without a pair, by layers that are shared",
        "digits-inverted",
    ),
    "unit": Entry(
        "UNIT",
        "Liu et al. 2017, arXiv:1703.00848",
        "translation through one latent space of two variational autoencoders",
        "digits-inverted",
    ),
    "xgan": Entry(
        "XGAN",
        "Royer et al. 2018, arXiv:1711.05139",
        "codes that keep their meaning, and hide their domain from a critic",
        "digits-coloured",
    ),
    "dtn": Entry(
        "DTN",
        "Taigman et al. 2017, arXiv:1611.02200",
        "one direction: what a given network sees stays, all else becomes the other domain's",
        "digits-coloured",
    ),
    "combogan": Entry(
        "ComboGAN",
        "Anoosheh et al. 2018, arXiv:1712.06909",
        "an encoder and a decoder for each of four domains",
        "digits-domains",
    ),
}
NAMES = tuple(SYSTEMS)


def get(name: str) -> type[System[Any]]:
    """The system of that name: ``get("ddpm")(config, image_shape, class_names)``, ``.load(path)``.

    Raises:
        ValueError: there is no such system; the message names the nearest.
    """
    entry = SYSTEMS[check_name("system", name, NAMES)]
    found: type[System[Any]] = getattr(import_module(f"genfuse.systems.{name}"), entry.class_name)
    return found


def load(path: str | Path) -> System[Any]:
    """A trained system of whatever kind, ready to use.

    Raises:
        CheckpointError: see :meth:`genfuse.train.System.load`; or it is of a system that this genfuse does not have.
    """
    loaded = checkpoint.load(path)
    name = loaded.metadata.get("system")
    if not isinstance(name, str) or name not in NAMES:
        raise CheckpointError(f"{loaded.path}: {unknown_name('system', name, NAMES)}")
    return get(name).restored(loaded)
