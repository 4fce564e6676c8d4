"""Writes the seeds of fuzz.cpp beside it: signatures for each kind of step, their tensors, a plan and a whole file.

Everything is as small as a network can be, since a fuzzer is as good as the number of inputs it gets through.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.nn import ResBlock
from genfuse.ops import bias_act, norm_stats, timestep_embedding, upfirdn2d

FOLDER = Path(__file__).parent


class Zoo(nn.Module):
    """A network for each number."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 4)
        self.block = ResBlock(4, 4, 4, num_heads=2, num_groups=2)
        self.up = nn.ConvTranspose2d(4, 2, 4, 2, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.strided = nn.Conv2d(4, 3, 3, 2, 1, padding_mode="reflect")
        self.norms = nn.ModuleList([nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True)])
        self.register_buffer("taps", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8)

    def forward(self, which: int, x: Tensor, t: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        if which == 0:
            result: Tensor = self.block(x, timestep_embedding(t, 4) + self.table(label))
            return result
        if which == 1:
            return F.leaky_relu(self.up(F.relu(self.norms[1](self.depthwise(x)))), 0.1)
        if which == 2:
            h = self.norms[2](torch.cat([x, x.transpose(2, 3)], 3))
            return self.strided(F.avg_pool2d(h, 2)) / 3.0
        if which == 3:
            y = upfirdn2d(x, self.taps, up=2, padding=(2, 1))
            return bias_act(y, self.taps, activation="elu", clamp=1.0).sin() * 2.0
        return norm_stats(F.avg_pool2d(F.silu(self.norms[0](x)), 3, 1))


def exported() -> tuple[dict[str, Any], bytes]:
    """The zoo's file: its header, and its tensors' bytes."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, 4, 4)
    forms: list[dict[str, Any]] = [
        {"which": 0, "x": torch.randn(1, 4, 4, 4), "t": torch.ones(1), "label": torch.tensor([1])}
    ]
    forms += [{"which": which, "x": x} for which in (1, 2, 3, 4)]
    with tempfile.TemporaryDirectory() as folder:
        content = genfuse.export(Zoo().eval(), forms, Path(folder) / "zoo.gfz").read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    header, data = exported()
    plan = json.loads(header.pop("__metadata__")["plan"])
    entries = compact(header)[1:-1]
    (FOLDER / "tensors").write_bytes(f"{entries}\n{compact(plan['tensors'])}\n".encode() + data)
    corpus, words = FOLDER / "seeds", set()
    corpus.mkdir(exist_ok=True)
    for number, signature in enumerate(plan["signatures"]):
        (corpus / f"signature-{number}").write_text("S" + compact([signature]))
        words |= {*signature, *(key for port in signature["inputs"] for key in port)}
        for op, step in {step["op"]: step for step in signature["steps"]}.items():
            (corpus / f"step-{op}").write_text("S" + compact([{**signature, "steps": [step]}]))
            words |= {op, *step}
    # Of bfloat16, which no smaller network widens.
    widen = {"op": "widen", "dtype": 2, "count": 8, "source": signature["inputs"][0]["at"], "to": 0}
    (corpus / "step-widen").write_text("S" + compact([{**signature, "steps": [widen]}]))
    words |= {*widen, "widen"}
    (corpus / "plan").write_text("P" + compact({**plan, "signatures": plan["signatures"][3:4]}))
    words |= {*plan, *plan["tensors"][0]}
    (FOLDER / "dictionary").write_text("".join(f'"\\"{word}\\""\n' for word in sorted(words)))
    whole = genfuse.export(nn.Conv2d(1, 1, 1).eval(), {"input": torch.zeros(1, 1, 1, 1)}, corpus / "file")
    whole.write_bytes(b"F" + whole.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
