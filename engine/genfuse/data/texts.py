"""Lines of text as tokens: a character each, or a word."""

from __future__ import annotations

import hashlib
import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from genfuse.names import check_name

CHARACTERS = ("", *string.ascii_lowercase, " ", "-")
"""What tokens are of the texts here; 0 ends a line, and fills it up."""


@dataclass(frozen=True)
class TextDataset:
    """Lines of text, held in memory.

    Attributes:
        name: the source.
        tokens: (N, L) int64, 0 from a line's end on.
        alphabet: what each token stands for; the first, "", ends a line.
        styles: (N,) int64 from 0 on: whose each line is, where there are several.
        attribution: what the texts' licence asks to be said.
    """

    name: str
    tokens: Tensor
    alphabet: tuple[str, ...]
    styles: Tensor
    attribution: str = ""
    views: ClassVar[int] = 1

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def image_shape(self) -> tuple[int]:
        """(L,): the shape of a sample, in the place of a picture's."""
        return (self.tokens.shape[1],)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The alphabet: what a trained system needs to know of its data, in the place of classes."""
        return self.alphabet

    def described(self) -> dict[str, Any]:
        """What a run records of its data, as JSON."""
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.tokens, self.styles):
            digest.update(tensor.contiguous().numpy().data)
        return {
            "name": self.name,
            "lines": len(self),
            "digest": digest.hexdigest(),
            "attribution": self.attribution,
        }


def encoded(lines: Sequence[str], length: int, alphabet: Sequence[str] = CHARACTERS) -> Tensor:
    """(N, length) int64 tokens of lines of at most ``length`` characters, or words where the alphabet is of words.

    ValueError, naming the line, for one that is longer or has others.
    """
    places = {token: place for place, token in enumerate(alphabet) if token}
    tokens = torch.zeros(len(lines), length, dtype=torch.int64)
    for row, line in enumerate(lines):
        parts = line.split() if _is_of_words(alphabet) else list(line)
        unknown = [part for part in parts if part not in places]
        if len(parts) > length or unknown:
            wrong = f", but there is no token {unknown[0]!r}" if unknown else f", of {len(parts)} tokens"
            raise ValueError(f"line is {line!r}{wrong}, expected at most {length} of those it was trained on")
        tokens[row, : len(parts)] = torch.tensor([places[part] for part in parts], dtype=torch.int64)
    return tokens


def decoded(tokens: Tensor, alphabet: Sequence[str]) -> tuple[str, ...]:
    """The lines of tokens (N, L), each up to its end."""
    space = " " if _is_of_words(alphabet) else ""
    return tuple(space.join(alphabet[token] for token in _before_end(row)) for row in tokens.tolist())


def _is_of_words(alphabet: Sequence[str]) -> bool:
    return max(map(len, alphabet)) > 1


def _before_end(row: list[int]) -> list[int]:
    return row[: row.index(0)] if 0 in row else row


def texts(name: str) -> TextDataset:
    """The lines of that name.

    Args:
        name: "emoji-names", what Unicode calls its emoji and symbols, 1,300 of up to 24 letters; or "opinions", 2,000
            sentences of five words that praise a thing of these names (style 0), and as many that damn one (style 1).

    Raises:
        ValueError: there is none of that name; the message has the nearest right one.
    """
    return _TEXTS[check_name("texts", name, TEXTS)]()


def _emoji_names() -> TextDataset:
    names = [name for name in _names() if len(name) <= 24 and set(name) <= set(CHARACTERS)]
    return TextDataset(
        "emoji-names", encoded(names, 24), CHARACTERS, torch.zeros(len(names), dtype=torch.int64)
    )


_OPINIONS = (
    (("love", "adore", "enjoy", "praise"), ("lovely", "great", "splendid", "fine", "superb")),
    (("hate", "loathe", "avoid", "curse"), ("awful", "bad", "dreadful", "poor", "lousy")),
)
"""Verbs and adjectives of either style."""


def _opinions() -> TextDataset:
    """Not a sentence of one style has its counterpart in the other but by chance: each draws words of its own."""
    things = [name for name in _names() if name.isalpha()]
    generator = torch.Generator().manual_seed(0)

    def drawn(words: Sequence[str]) -> list[str]:
        return [words[place] for place in torch.randint(len(words), (2000,), generator=generator)]

    lines = [
        f"i {verb} this {adjective} {thing}"
        for verbs, adjectives in _OPINIONS
        for verb, adjective, thing in zip(drawn(verbs), drawn(adjectives), drawn(things), strict=True)
    ]
    alphabet = ("", *sorted({word for line in lines for word in line.split()}))
    return TextDataset("opinions", encoded(lines, 5, alphabet), alphabet, torch.arange(4000) // 2000)


def _names() -> list[str]:
    """Of emoji and symbols, in order, from Python's own copy of the character database."""
    blocks = (
        range(0x2600, 0x27C0),
        range(0x1F300, 0x1F650),
        range(0x1F680, 0x1F700),
        range(0x1F900, 0x1FB00),
    )
    names = (unicodedata.name(chr(point), "").lower() for block in blocks for point in block)
    return sorted({name for name in names if name})


_TEXTS: dict[str, Callable[[], TextDataset]] = {"emoji-names": _emoji_names, "opinions": _opinions}
TEXTS = tuple(_TEXTS)
"""The names that `texts` knows."""
