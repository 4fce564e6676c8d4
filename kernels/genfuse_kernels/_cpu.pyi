"""The compiled extension (`csrc/bindings`). Pointers are addresses (`Tensor.data_ptr()`), 0 where absent."""

from torch import Tensor
from typing_extensions import Buffer

COMMIT: str  # that it was built from, "-dirty" where files were changed; empty where no checkout told
COMPILER: str
COLUMNS: tuple[str, ...]
ROW: int
HISTORY_SLOTS: int
MAX_AXES: int
STREAMS: tuple[int, int, int]

_Tensor = tuple[int, tuple[int, ...]]  # data pointer, strides in elements
_Strided = tuple[int, list[int]]  # data pointer, strides in bytes

def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def set_isa(name: str) -> None: ...
def share_torch_threads(share: bool) -> bool: ...
def shares_torch_threads() -> bool: ...
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
def philox_lerp(
    dtype: int,
    sizes: tuple[int, ...],
    out: _Tensor,
    start: _Tensor | None,
    end: _Tensor | None,
    seed: int,
    first: int,
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

_Image = tuple[int, int, int, int, int, int, int]  # data pointer, layout, channels, strides n, c, h, w
_Pair = tuple[int, int]

class Prologue:
    def __init__(
        self,
        kind: int = 0,
        groups: int = 1,
        centred: bool = True,
        activation: int = 0,
        slope: float = 0.0,
        eps: float = 0.0,
        weight_stride: int = 0,
        bias_stride: int = 0,
        film_stride: int = 0,
        dropout: float = 0.0,
        dropout_stream: int = 0,
    ) -> None: ...
    def of(
        self,
        stats: int,
        mean: int,
        variance: int,
        weight: int,
        bias: int,
        film_scale: int,
        film_shift: int,
        seeds: int,
    ) -> Prologue: ...

class Epilogue:
    def __init__(
        self,
        shift_stride: int = 0,
        scale: float = 1.0,
        activation: int = 0,
        slope: float = 0.0,
        pool: _Pair = (1, 1),
    ) -> None: ...
    def of(self, bias: int, shift: int, stats: int, projection: int) -> Epilogue: ...

class Conv:
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        kernel: _Pair,
        stride: _Pair,
        padding: _Pair,
        extra_padding: _Pair,
        dilation: _Pair,
        output_padding: _Pair,
        transposed: bool,
        padding_mode: int,
        upsample: _Pair,
        dtype: int,
        height: int,
        width: int,
        accuracy: int,
        plain: bool,
        way: int = 0,
    ) -> None: ...
    @staticmethod
    def without(channels: int) -> Conv: ...
    @property
    def ways(self) -> int: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def tile(self) -> int: ...
    @property
    def product(self) -> str: ...
    @property
    def packed_size(self) -> int: ...
    def output(self, height: int, width: int) -> _Pair: ...
    def pack(self, weight: int, weight_dtype: int, packed: int, threads: int = 1) -> None: ...
    def run(
        self,
        dtype: int,
        threads: int,
        batch: int,
        height: int,
        width: int,
        x: _Image,
        skip: _Image | None,
        prologue: Prologue,
        packed: int,
        weight: int,
        weight_dtype: int,
        epilogue: Epilogue,
        residual: _Image | None,
        residual_skip: _Image | None,
        out: _Image,
        rows: int = 0,
        shared: int = 0,
    ) -> None: ...
    def weight_gradient(
        self,
        dtype: int,
        threads: int,
        batch: int,
        height: int,
        width: int,
        x: _Image,
        skip: _Image | None,
        prologue: Prologue,
        gradient: _Image,
        weight: int,
        weight_dtype: int,
        accumulate: bool,
        exact: bool,
    ) -> None: ...

def prologue_gradient(
    dtype: int,
    threads: int,
    batch: int,
    height: int,
    width: int,
    x: _Image,
    skip: _Image | None,
    prologue: Prologue,
    through_stats: bool,
    gradient: _Image,
    x_gradient: _Image | None,
    skip_gradient: _Image | None,
    x_added: _Image | None = None,
    skip_added: _Image | None = None,
    norm_weight: int = 0,
    norm_bias: int = 0,
    film_scale: int = 0,
    film_shift: int = 0,
    stats: int = 0,
) -> None: ...
def leaky_relu_tangent(
    dtype: int,
    count: int,
    tangent: int,
    mask: int,
    negative_slope: float,
    positive_slope: float,
    out: int,
    threads: int,
) -> None: ...
def norm_direction(
    dtype: int, batch: int, values: int, x: int, norms: int, direction: int, threads: int
) -> None: ...
def norm_tangent(
    size: _Pair,
    weight_size: _Pair,
    x: int,
    tangent: int,
    weight: int,
    eps: float,
    out: int = 0,
    gradient: int = 0,
    x_gradient: int = 0,
    tangent_gradient: int = 0,
    weight_gradient: int = 0,
    threads: int = 1,
) -> None: ...
def norm_stats(
    dtype: int, threads: int, batch: int, height: int, width: int, x: _Image, stats: int
) -> None: ...
def checksum(data: int, bytes: int) -> int: ...

class ResultBlock(Buffer):
    def __init__(self, nbytes: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def held_blocks() -> tuple[int, int, int]: ...
def set_block_limit(nbytes: int) -> None: ...
def empty_block_cache() -> None: ...
def arena_peak_bytes() -> int: ...
def attention(
    dtype: int,
    sizes: tuple[int, int, int, int, int, int],  # batch, heads, queries, keys, channels, value channels
    scale: float,
    q: _Tensor,
    k: _Tensor,
    v: _Tensor,
    out: _Tensor,
    threads: int,
) -> None: ...
def bias_act(
    dtype: int,
    threads: int,
    channels_last: bool,
    sizes: tuple[int, int, int],  # samples, channels, pixels
    activation: int,
    slope: float,
    gain: float,
    clamp: float,
    x: int,
    out: int,
    bias: int,
    scale: int,
    noise: int,
    noise_stride: int,
    gradient: int = 0,
    of_result: bool = False,
    before_scale: bool = False,
    bias_sums: int = 0,
    scale_sums: int = 0,
) -> None: ...
def bias_act_blocks(pixels: int) -> int: ...
def timestep_embedding(
    t: int,
    t_is_double: bool,
    batch: int,
    channels: int,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
    out: int,
    is_double: bool,
) -> None: ...

# dtype codes, data pointers, numbers of elements; place, sizes and strides of those that are no contiguous run
_Columns = tuple[list[int], list[int], list[int], list[tuple[int, tuple[int, ...], tuple[int, ...]]]]

def ema_update(averages: _Columns, parameters: _Columns, decay: float, threads: int) -> None: ...
def clip_weights(parameters: _Columns, bound: float, threads: int) -> None: ...
def clip_grad_norm(gradients: _Columns, max_norm: float, finite: bool, threads: int) -> float: ...
def ema_update_directly(
    exchange: object, averages: list[Tensor], parameters: list[Tensor], decay: float, threads: int
) -> bool: ...
def clip_weights_directly(exchange: object, parameters: list[Tensor], bound: float, threads: int) -> bool: ...
def clip_grad_norm_directly(
    exchange: object, gradients: list[Tensor], max_norm: float, finite: bool, threads: int
) -> float | None: ...
def spectral_norm(
    layers: list[tuple[int, int, int, int, int, int, int, int, int]],
    steps: int,
    eps: float,
    sigmas: int,
    threads: int,
) -> None: ...
def spectral_norm_gradient(
    layers: list[tuple[int, int, int, int, int, int, int, float, int]], threads: int
) -> None: ...
def widen(dtype: int, source: int, count: int, to: int) -> None: ...
def copy(sizes: list[int], item: int, to: _Strided, source: _Strided, threads: int = 1) -> None: ...
def elementwise(
    function: str,
    sizes: list[int],
    to: _Strided,
    a: _Strided,
    b: _Strided,
    number: float,
    threads: int = 1,
) -> None: ...
def window(sizes: list[int], to: _Strided, source: _Strided, threads: int = 1) -> None: ...
def gather(rows: int, row_bytes: int, table_rows: int, index: int, table: int, to: int) -> None: ...
def recording() -> Program | None: ...

class Network:
    def __init__(self, path: str, threads: int = 1) -> None: ...
    def __len__(self) -> int: ...
    def inputs(self, signature: int = 0) -> list[tuple[str, int, list[int]]]: ...
    def outputs(self, signature: int = 0) -> list[tuple[str, int, list[int]]]: ...
    def run(
        self,
        signature: int,
        inputs: list[tuple[int, int]],
        outputs: list[tuple[int, int]],
        threads: int,
    ) -> None: ...

class Program:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def shorten(self, size: int) -> None: ...
    def addresses(self, step: int) -> list[int]: ...
    def described(
        self, step: int
    ) -> tuple[str, dict[str, int | float], list[tuple[str, int, int, bool]]]: ...
    def watch(self, data: int, bytes: int) -> None: ...
    def unchanged(self) -> bool: ...
    def run(self, begin: int, end: int) -> None: ...

def upfirdn2d(
    dtype: int,
    threads: int,
    channels_last: bool,
    batch: int,
    channels: int,
    size: tuple[int, int],
    out_size: tuple[int, int],
    x: int,
    out: int,
    filter: int,
    filter_size: tuple[int, int],
    separable: bool,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int],
) -> None: ...
