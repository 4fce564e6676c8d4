"""The compiled extension (`csrc/bindings`). Pointers are addresses (`Tensor.data_ptr()`), 0 where absent."""

COLUMNS: tuple[str, ...]
ROW: int
HISTORY_SLOTS: int
MAX_AXES: int
STREAMS: tuple[int, int, int]

_Tensor = tuple[int, tuple[int, ...]]  # data pointer, strides in elements

def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def set_isa(name: str) -> None: ...
def sampler_step(
    dtype: int,
    sizes: tuple[int, ...],
    out: _Tensor,
    stored: _Tensor | None,
    x: _Tensor,
    model_output: _Tensor | None,
    uncond: _Tensor | None,
    variance: _Tensor | None,
    noise: _Tensor | None,
    noise_prev: _Tensor | None,
    history: tuple[_Tensor, ...],
    table: int,
    rows: int,
    row: int,
    index: int,
    seeds: int,
    stream: int,
    scales: int,
    threads: int,
) -> None: ...
def sampler_reduce(
    dtype: int,
    sizes: tuple[int, ...],
    x: _Tensor,
    model_output: _Tensor | None,
    uncond: _Tensor | None,
    table: int,
    rows: int,
    row: int,
    index: int,
    scales: int,
    threads: int,
) -> None: ...
def philox_normal(
    dtype: int,
    sizes: tuple[int, ...],
    out: _Tensor,
    seeds: int,
    rows: int,
    row: int,
    stream: int,
    threads: int,
) -> None: ...
def philox_words(blocks: int, first_block: int, seed: int, row: int, stream: int) -> list[int]: ...

class Plan:
    def __init__(
        self,
        table: int,
        rows: int,
        dtype: int,
        sizes: tuple[int, ...],
        strides: tuple[int, ...],
        threads: int,
    ) -> None: ...
    def set_history(self, data: int, slots: int, slot_stride: int) -> None: ...
    def set_seeds(self, seeds: int, stream: int = 0) -> None: ...
    def set_threads(self, threads: int) -> None: ...
    def step(
        self,
        row: int,
        x: int,
        model_output: int,
        out: int,
        uncond: int = 0,
        variance: int = 0,
        noise: int = 0,
        noise_prev: int = 0,
        scales: int = 0,
    ) -> None: ...
