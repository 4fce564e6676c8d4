"""Writes the seeds of fuzz.cpp beside it: a plan for each kind of step, their tensors, and whole files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import genfuse
from genfuse.nn import UNet, UNetConfig
from genfuse.ops import bias_act, upfirdn2d

FOLDER = Path(__file__).parent / "corpus"


class Zoo(nn.Module):
    """A network for each number."""

    def __init__(self) -> None:
        super().__init__()
        config = UNetConfig(num_classes=2, channels=(8, 16), attention_levels=(1,), embedding_channels=8)
        self.unet = UNet(config)
        self.up = nn.ConvTranspose2d(4, 3, 4, 2, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.strided = nn.Conv2d(4, 20, 3, 2, 1, padding_mode="reflect")
        self.norms = nn.ModuleList([nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True)])
        self.half = nn.Conv2d(4, 4, 3, dilation=2, padding=2, dtype=torch.bfloat16)
        self.register_buffer("taps", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8)

    def forward(self, which: int, x: Tensor, t: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        if which == 0:
            result: Tensor = self.unet(x, t, label)
            return result
        if which == 1:
            return F.leaky_relu(self.up(F.relu(self.norms[1](self.depthwise(x)))), 0.1)
        if which == 2:
            h = self.norms[2](torch.cat([x, x.transpose(2, 3)], 3))
            return self.strided(F.avg_pool2d(h, 2)) / 3.0
        if which == 3:
            y = upfirdn2d(x, self.taps, up=2, padding=(2, 1))
            return bias_act(y, self.taps, activation="elu", clamp=1.0).sin() * 2.0
        return self.half(F.silu(self.norms[0](x)).to(torch.bfloat16))


def main() -> None:
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    module, x = Zoo().eval(), torch.randn(2, 4, 6, 6)
    forms = [{"which": 0, "x": torch.randn(1, 3, 8, 8), "t": torch.ones(1), "label": torch.tensor([1])}]
    forms += [{"which": which, "x": x} for which in (1, 2, 3)]
    path = FOLDER / "whole.gfz"
    genfuse.export(module, forms, path)
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        plan = json.loads(file.metadata()["plan"])
    save_file(load_file(path), FOLDER / "tensors.safetensors")
    for number, signature in enumerate(plan["signatures"]):
        one = {**plan, "signatures": [signature]}
        (FOLDER / f"plan-{number}").write_text("P" + json.dumps(one, separators=(",", ":")))
        kinds = {step["op"]: step for step in signature["steps"]}
        for op, step in kinds.items():
            alone = {**plan, "signatures": [{**signature, "steps": [step]}]}
            (FOLDER / f"step-{op}").write_text("P" + json.dumps(alone, separators=(",", ":")))
    (FOLDER / "file").write_bytes(b"F" + path.read_bytes())
    path.unlink()


if __name__ == "__main__":
    sys.exit(main())
