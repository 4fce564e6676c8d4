"""`genfuse export`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import genfuse
from genfuse import env, systems
from genfuse.cli import app
from genfuse.exporting.systems import example, networks

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)


def test_a_plan_for_each_batch(tmp_path: Path) -> None:
    path = tmp_path / "unet.gfz"
    result = CliRunner().invoke(app, ["export", "-o", str(path), "-b", "1", "-b", "2"])
    assert result.exit_code == 0, result.output
    assert "label (2,) int64" in result.output.replace("\n", "")
    network = genfuse.load_network(path)
    assert [network.inputs(i)["x"][1] for i in range(len(network))] == [(1, 3, 32, 32), (2, 3, 32, 32)]


def test_what_is_no_checkpoint_or_network_is_named(tmp_path: Path) -> None:
    for arguments in (["export", str(tmp_path / "none")], ["export", "--network", "critic"]):
        result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "x.gfz")])
        assert result.exit_code != 0 and not (tmp_path / "x.gfz").exists()


@pytest.mark.parametrize("name", ["dcgan", "wgan_gp", "progressive", "vae", "pix2pix"])
def test_generators_of_systems(name: str, tmp_path: Path) -> None:
    shape = (1, 16, 16) if name != "pix2pix" else (2, 16, 16)
    chosen = systems.get(name)
    config, _ = chosen.defaults(shape)
    system = chosen(config, shape, ())
    for network in networks(system).values():
        genfuse.export(
            network, example(system, network, 1), tmp_path / "network.gfz"
        )  # which checks its bits
        given = example(system, network, 1)
        assert torch.isfinite(genfuse.load_network(tmp_path / "network.gfz")(**given)).all()  # type: ignore[arg-type]
