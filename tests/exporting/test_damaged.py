"""Files that are cut off, changed or made up: refused when they are loaded, saying what is wrong."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import genfuse
from genfuse import env
from genfuse.ops import attention

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = genfuse.nn.Conv2d(3, 8, 3, padding=1)
        self.table = nn.Embedding(5, 8)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        rows = self.conv(x).flatten(2).mT[:, None]
        return attention(rows, rows, rows) + self.table(label)[:, None, None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "layers.gfz"
    inputs = {"x": torch.randn(1, 3, 4, 4), "label": torch.tensor([2])}
    return genfuse.export(Layers().eval(), inputs, path)


def refused(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    with pytest.raises(ValueError) as found:
        genfuse.load_network(path)
    assert str(path) in str(found.value)
    return str(found.value)


def test_cut_off_anywhere(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        assert refused(data[:length], tmp_path / "cut.gfz")
    assert "behind its last tensor" in refused(data + b"\0", tmp_path / "long.gfz")


def test_one_bit_anywhere(whole: Path, tmp_path: Path) -> None:
    """Header, plan and weights: sums or the format tell."""
    data = bytearray(whole.read_bytes())
    for at in torch.randint(0, len(data), (150,)).tolist():
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        header = 8 + int.from_bytes(data[:8], "little")
        if data[at] == 0x20 and 8 <= at < header and changed[at] in b"\t\r\n ":
            continue  # another blank
        try:
            refused(bytes(changed), tmp_path / "bit.gfz")
        except pytest.fail.Exception:
            text = bytes(changed[max(8, at - 30) : at + 30])
            assert b"__metadata__" not in text and at < header, (at, text)
            raise


def test_no_network(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="no exported network"):
        genfuse.load_network(tmp_path / "weights.safetensors")
    for path in (tmp_path / "missing.gfz", tmp_path):
        with pytest.raises(ValueError, match=r"cannot be opened|no file"):
            genfuse.load_network(path)


def steps(plan: Any) -> Any:
    return {step["op"]: step for step in plan["signatures"][0]["steps"]}


def edit(step: str, **fields: Any) -> Callable[[Any], None]:
    return lambda plan: steps(plan)[step].update(fields)


def swap_memory(plan: Any) -> None:
    steps(plan)["attention"]["out"] = steps(plan)["attention"]["q"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.update(version=2), "version 2"),
        (lambda plan: plan.update(extra=1), "other fields"),
        (lambda plan: plan.pop("tensors"), "'tensors' is missing"),
        (lambda plan: plan["signatures"].clear(), "no signatures"),
        (lambda plan: plan["signatures"][0].update(arena=64), "arena"),
        (lambda plan: plan["signatures"][0].update(arena=1 << 50), "this machine has"),
        (lambda plan: plan["signatures"][0]["inputs"][0].update(at=1 << 40), r"inputs\[0\]: lies outside"),
        (lambda plan: plan["signatures"][0]["inputs"][0].update(strides=[1, 1, 1, 1]), "on each other"),
        (lambda plan: plan["tensors"][0].update(crc32=0), "damaged"),
        (lambda plan: plan["tensors"][0].update(shape=[1]), "another dtype or shape"),
        (edit("conv_norm_act", op="exec"), "op 'exec' is unknown"),
        (edit("conv_norm_act", batch=1 << 40), "'batch' is 1099511627776, expected 1 to"),
        (edit("conv_norm_act", height=1 << 20), r"steps\[\d\] \(conv_norm_act\): 'x' "),
        (edit("conv_norm_act", **{"kernel.height": 4000, "kernel.width": 4000}), "weights, expected at most"),
        (edit("conv_norm_act", groups=3), "divisor"),
        (edit("conv_norm_act", weight=[0, 1]), "'weight' reaches|not aligned"),
        (edit("conv_norm_act", weight=0), "no tensor of the file"),
        (edit("conv_norm_act", bias=[99, 0]), "none of the plan's tensors"),
        (edit("conv_norm_act", **{"x.stride_n": -4}), "expected 0 to"),
        (edit("conv_norm_act", eps="nan"), "no number"),
        (edit("conv_norm_act", eps="-0x1p+0"), "eps is -1"),
        (edit("conv_norm_act", eps=0.5), "JSON: a fraction"),
        (edit("conv_norm_act", x=None), "'x' is absent"),
        (edit("conv_norm_act", unknown=1), "fields, expected"),
        (edit("attention", heads=1 << 20), "'q' "),
        (edit("attention", out=[0, 0]), "'out' is written"),
        (edit("attention", **{"out.stride_token": 0}), "on each other"),
        (swap_memory, "'out' lies on 'q'"),
        (edit("gather", table_rows=1 << 31), "'table' reaches"),
        (edit("elementwise", function=99), "'function' is 99"),
    ],
)
def test_plans_that_were_edited(
    change: Callable[[Any], object], message: str, whole: Path, tmp_path: Path
) -> None:
    """With the checksum of the plan put right."""
    with safe_open(whole, "pt") as file:  # type: ignore[no-untyped-call]
        metadata = file.metadata()
    plan = json.loads(metadata["plan"])
    change(plan)
    text = json.dumps(plan)
    path = tmp_path / "edited.gfz"
    save_file(
        load_file(whole), path, {**metadata, "plan": text, "plan_crc32": str(zlib.crc32(text.encode()))}
    )
    with pytest.raises(ValueError, match=message):
        genfuse.load_network(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 100, "nested too deeply"),
        (b'{"a":1,"a":2}', "same name twice"),
        (b'{"a":1.5}', "fraction"),
        (b'{"a":99999999999999999999}', "beyond 64 bits"),
        (b'{"a":01}', "begins with 0"),
        (b'{"a":"\\ud800"}', "half a character"),
        (b'{"a":"\xff"}', "no UTF-8"),
        (b'{"a":"\n"}', "control character"),
        (b'{"a":nul}', "unknown word"),
        (b"{} x", "behind the end"),
        (b'{"a":[1,]}', "no value"),
        (b'{"__metadata__":{"format":1}}', "not all text"),
        (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,9]}}', "outside the file"),
        (b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', "no memory holds"),
        (b'{"a":{"dtype":"F99","shape":[],"data_offsets":[0,0]}}', "unknown"),
    ],
)
def test_headers(header: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(len(header).to_bytes(8, "little") + header, tmp_path / "made-up.gfz")
