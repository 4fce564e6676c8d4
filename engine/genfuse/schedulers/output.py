"""What a scheduler's step returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


class SchedulerOutput:
    """prev_sample, and the predicted x0 where diffusers' class gives one, computed when first asked for.

    Read it by attribute, by name or by position, or unpack it like the tuple that diffusers returns for
    `return_dict=False`. pred_original_sample reads the sample and the model output of the step when it is
    asked for: ask before overwriting them (see `deferred`).
    """

    __slots__ = ("_original", "_predict", "prev_sample")

    def __init__(self, prev_sample: Tensor, predict: Callable[[], Tensor] | None = None) -> None:
        self.prev_sample = prev_sample
        self._predict = predict
        self._original: Tensor | None = None

    @property
    def pred_original_sample(self) -> Tensor:
        """The predicted x0 (N, ...), clipped or thresholded as the step used it."""
        if self._original is None:
            if self._predict is None:
                raise AttributeError("this scheduler's output has no pred_original_sample")
            self._original = self._predict()
        return self._original

    def keys(self) -> tuple[str, ...]:
        """Names of the fields there are."""
        return ("prev_sample",) if self._predict is None else ("prev_sample", "pred_original_sample")

    def to_tuple(self) -> tuple[Tensor, ...]:
        """Every field, computed."""
        return tuple(self)

    def __len__(self) -> int:
        return len(self.keys())

    def __getitem__(self, key: int | str) -> Tensor:
        name = self.keys()[key] if isinstance(key, int) else key
        if name not in self.keys():
            raise KeyError(name)
        value: Tensor = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[Tensor]:
        return (self[name] for name in self.keys())


def deferred(
    compute: Callable[[], Tensor], sample: Tensor, model_output: Tensor, noise: Tensor | None
) -> Callable[[], Tensor]:
    """`compute` for later, where the tensors that it reads are then as they are now.

    RuntimeError where one was changed in place meanwhile (but by `.data`, which leaves no trace). Tensors of
    inference mode do not count their changes: with one of those it is computed at once. A graph of
    torch.compile keeps its own order of reads and writes.
    """
    if torch.compiler.is_compiling():
        return compute
    try:
        versions = sample._version, model_output._version, noise._version if noise is not None else 0
    except RuntimeError:
        value = compute()
        return lambda: value

    def later() -> Tensor:
        for name, tensor, version in zip(_READ, (sample, model_output, noise), versions, strict=True):
            if tensor is not None and tensor._version != version:
                raise RuntimeError(
                    f"pred_original_sample reads {name}, which was changed in place since the step; ask for it "
                    "before, or give step a copy"
                )
        return compute()

    return later


_READ = ("sample", "model_output", "noise")
