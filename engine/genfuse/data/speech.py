"""Spoken words as spectrograms: eSpeak NG says them, which the package ``espeakng-loader`` carries whole."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.data.cache import cached_array

BANDS, FRAMES = 32, 32
"""A spectrogram's: of frequencies to 5.5 kHz, and of a word's time from begin to end."""
VOICES = ("en", "en-us", "en+f2", "en-us+f4", "en+m3", "en-us+m7", "en-gb-scotland", "en-gb-x-rp")
UNHEARD = "en+f3"
"""A voice that is kept for trying out what was learned from the others."""
SPEEDS, PITCHES = (140, 175, 210), (35, 50, 65)
"""Words a minute; of eSpeak's range of 0 to 100."""
_RATE, _SYNCHRONOUS, _CHARACTERS, _SPEED, _PITCH = 22_050, 2, 1, 1, 3  # of espeak-ng's speak_lib.h
_WINDOW = 512


def spoken(words: Sequence[str], voices: Sequence[str] = VOICES) -> Tensor:
    """Each word as said by each voice at three speeds and pitches.

    Kept in the user's cache directory: eSpeak NG breathes a little otherwise each time, and runs are to hear the same.

    Args:
        words: one or more, English.
        voices: eSpeak's names.

    Returns:
        (words, voices · 9, BANDS, FRAMES) float32 in [-1, 1], from 80 dB below a word's loudest up to it.

    Raises:
        ModuleNotFoundError: the synthesiser's package is not installed.
        ValueError: there is no such voice, or nothing is to be heard of a word.
    """

    def make() -> NDArray[np.float32]:
        manners = list(itertools.product(voices, SPEEDS, PITCHES))
        said = [torch.stack([spectrogram(say(word, *manner)) for manner in manners]) for word in words]
        return torch.stack(said).numpy()

    key = repr((tuple(words), tuple(voices), SPEEDS, PITCHES, BANDS, FRAMES))
    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    return torch.from_numpy(cached_array(f"espeak-ng-{digest}", make))


def say(word: str, voice: str = UNHEARD, speed: int = SPEEDS[1], pitch: int = PITCHES[1]) -> Tensor:
    """A word's waveform (samples,) float32 in [-1, 1], 22,050 a second, without the silence around it."""
    library = _library()
    if library.espeak_SetVoiceByName(voice.encode()):
        raise ValueError(f"voice is {voice!r}, which eSpeak NG does not have")
    library.espeak_SetParameter(_SPEED, speed, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    heard: list[NDArray[np.int16]] = []

    def keep(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(keep)  # which has to live as long as the library calls it
    library.espeak_SetSynthCallback(callback)
    text = word.encode()
    library.espeak_Synth(text, len(text) + 1, 0, _CHARACTERS, 0, 1, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(heard) if heard else np.zeros(0, np.int16)
    (loud,) = np.nonzero(np.abs(wave) > 200)
    if not len(loud):
        raise ValueError(
            f"word is {word!r}, of which nothing is to be heard, expected an English word or number"
        )
    return torch.from_numpy(wave[loud[0] : loud[-1] + 1]).float() / 2**15


def spectrogram(wave: Tensor) -> Tensor:
    """(samples,) → (BANDS, FRAMES) in [-1, 1]: decibels of a Hann window's power, averaged to bands and frames."""
    padded = torch.nn.functional.pad(wave, (0, max(0, _WINDOW - len(wave))))
    power = torch.stft(padded, _WINDOW, _WINDOW // 8, window=torch.hann_window(_WINDOW), return_complex=True)
    heard = power[: _WINDOW // 4].abs().square()[None]  # to a quarter of the rate
    mean = torch.nn.functional.adaptive_avg_pool2d(heard, (BANDS, FRAMES))[0]
    decibels = 10 * torch.log10(mean / mean.max() + 1e-8)
    return decibels.clamp(min=-80) / 40 + 1


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@cache
def _library() -> ctypes.CDLL:
    try:
        import espeakng_loader
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the speech synthesiser is not installed: pip install 'genfuse[speech]'"
        ) from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate != _RATE:
        raise OSError(
            f"eSpeak NG speaks at {rate} samples a second, expected {_RATE}: reinstall espeakng-loader"
        )
    return library
