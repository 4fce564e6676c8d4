"""The public noise op: what it depends on, what PyTorch sees of it, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import genfuse
from genfuse.ops import philox_normal
from genfuse_kernels.philox_normal import reference
from genfuse_kernels.philox_normal.spec import STREAM_INIT, tolerance

SEEDS = torch.tensor([0, -1, 2**62 + 12345, 7])
SHAPE = (4, 3, 5, 7)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=["aten", None], ids=["aten", "automatic"])
def chosen(request: pytest.FixtureRequest, poisoned: None) -> Any:
    with genfuse.backend(request.param):
        yield request.param


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "row", [0, 2**32 - 1, torch.tensor([0, 3, 2**32 - 1, 3])], ids=["first", "last", "per sample"]
)
def test_is_the_reference(dtype: torch.dtype, row: int | torch.Tensor, chosen: str | None) -> None:
    got = philox_normal(SEEDS, SHAPE, row=row, stream=5, dtype=dtype)
    wanted = reference.philox_normal(SEEDS, SHAPE, row, 5)
    assert got.dtype == dtype
    error = (got.double() - wanted).abs() / wanted.abs().clamp_min(1)
    assert error.max() <= tolerance(dtype), f"{error.max():.3g} > {tolerance(dtype):.3g}"


def test_known_words() -> None:
    """Philox4x32-10's published vectors (Random123, kat_vectors)."""

    def words(counter: list[int], key: list[int]) -> list[int]:
        made = reference.philox4x32(
            tuple(torch.tensor([c]) for c in counter), tuple(torch.tensor([k]) for k in key)  # type: ignore[arg-type]
        )  # fmt: skip
        return [int(word) for word in made]

    assert words([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    assert words(pi[:4], pi[4:]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_depends_on_seed_row_stream_and_element_alone(chosen: str | None) -> None:
    whole = philox_normal(SEEDS, SHAPE)
    for n in range(4):
        assert torch.equal(philox_normal(SEEDS[n : n + 1], (1, *SHAPE[1:]))[0], whole[n])
    assert torch.equal(philox_normal(SEEDS, (4, 105)), whole.reshape(4, 105))
    assert torch.equal(philox_normal(SEEDS, (4, 20)), whole.reshape(4, 105)[:, :20])
    last = philox_normal(SEEDS, SHAPE, memory_format=torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(last, whole)
    torch.set_num_threads(1)
    assert torch.equal(philox_normal(SEEDS, SHAPE), whole)
    assert torch.equal(philox_normal(SEEDS.repeat(2)[::2], SHAPE), philox_normal(SEEDS[[0, 2, 0, 2]], SHAPE))
    assert not torch.equal(philox_normal(SEEDS, SHAPE, row=1), whole)
    assert not torch.equal(philox_normal(SEEDS, SHAPE, stream=STREAM_INIT + 1), whole)


def test_empty_batches_and_samples(chosen: str | None) -> None:
    assert philox_normal(SEEDS[:0], (0, 3)).shape == (0, 3)
    assert philox_normal(SEEDS, (4, 0)).shape == (4, 0)
    assert philox_normal(SEEDS, (4,)).shape == (4,)


@pytest.mark.parametrize("rows", [None, torch.tensor([0, 1, 2, 3])], ids=["row", "per sample"])
def test_opcheck(rows: torch.Tensor | None) -> None:
    torch.library.opcheck(
        torch.ops.genfuse.philox_normal.default, (SEEDS, [4, 3, 5], rows, 1, 2, torch.float32)
    )


def test_compiles_without_a_graph_break() -> None:
    def noisy(x: torch.Tensor, seeds: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x + philox_normal(seeds, x.shape, row=rows) + philox_normal(seeds, x.shape, row=2)

    arguments = torch.zeros(SHAPE), SEEDS, torch.arange(4)
    torch._dynamo.reset()
    assert torch.equal(
        torch.compile(noisy, fullgraph=True, backend="aot_eager")(*arguments), noisy(*arguments)
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": None}, TypeError, r"seeds is None, expected an int64 tensor \(4,\)"),
        ({"seeds": [1, 2, 3, 4]}, TypeError, r"seeds is list, expected an int64 tensor \(4,\)"),
        ({"seeds": SEEDS.int()}, TypeError, r"seeds has dtype torch.int32, expected torch.int64"),
        ({"seeds": SEEDS[:2]}, ValueError, r"seeds has shape \(2,\), expected \(4,\): one seed a sample"),
        ({"shape": ()}, ValueError, r"shape is \(\), expected \(N, ...\)"),
        ({"shape": (4, -1)}, ValueError, r"shape is \(4, -1\), expected \(N, ...\) with no negative size"),
        ({"shape": (4, 2**33, 2**33)}, ValueError, r"more elements than the counter has blocks"),
        ({"row": -1}, ValueError, r"row is -1, expected an int in \[0, 2\*\*32\)"),
        ({"row": 2**32}, ValueError, r"row is 4294967296, expected an int in \[0, 2\*\*32\)"),
        ({"row": 0.5}, TypeError, r"row is float, expected an int in"),
        (
            {"row": torch.tensor([0, 1, 2, -3])},
            ValueError,
            r"row is -3, expected a word in \[0, 4294967296\)",
        ),
        ({"row": torch.tensor([0, 1])}, ValueError, r"row has shape \(2,\), expected \(\) or \(4,\)"),
        ({"row": torch.zeros(4)}, TypeError, r"row has dtype torch.float32, expected torch.int64"),
        ({"stream": 2**32}, ValueError, r"stream is 4294967296, expected an int in \[0, 2\*\*32\)"),
        ({"dtype": torch.int32}, TypeError, r"dtype is torch.int32, expected one of torch.float32"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"seeds": SEEDS, "shape": SHAPE} | changes
    with pytest.raises(error, match=message):
        philox_normal(arguments.pop("seeds"), arguments.pop("shape"), **arguments)
