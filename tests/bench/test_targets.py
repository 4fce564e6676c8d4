"""`genfuse bench TARGET...`: names of ops, networks and systems in a command's place."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from genfuse_bench.command import app
from genfuse_bench.targets import BENCHES, Targets, bench_of, run


def stand_in() -> tuple[typer.Typer, list[tuple[str, str, int]]]:
    """A group whose benches say what they were asked for."""
    calls: list[tuple[str, str, int]] = []
    group = typer.Typer(cls=Targets)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    group.command("run", hidden=True, context_settings=settings)(run)

    @group.command("systems")
    def systems(names: Annotated[str, typer.Option("--systems")] = "", threads: int = 0) -> None:
        calls.append(("systems", names, threads))

    @group.command("stylegan")
    def stylegan(ops: str = "", threads: int = 0) -> None:
        calls.append(("stylegan", ops, threads))

    @group.command("tensor_lists")
    def lists(threads: int = 0) -> None:
        calls.append(("tensor_lists", "", threads))

    return group, calls


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["dcgan", "upfirdn2d", "vae"], [("systems", "dcgan,vae", 2), ("stylegan", "upfirdn2d", 2)]),
        (["systems"], [("systems", "", 2)]),
        (["dcgan", "tensor_lists"], [("systems", "dcgan", 2), ("tensor_lists", "", 2)]),
    ],
)
def test_each_target_is_measured_by_the_bench_that_knows_it(
    words: list[str], wanted: list[tuple[str, str, int]]
) -> None:
    group, calls = stand_in()
    result = CliRunner().invoke(group, [*words, "--threads", "2"])
    assert result.exit_code == 0, result.output
    assert calls == wanted


def test_what_nobody_knows_is_a_usage_error() -> None:
    group, calls = stand_in()
    for words in (["dcgan", "nothing"], ["nothing"]):
        result = CliRunner().invoke(group, words)
        assert result.exit_code == 2 and "nothing" in result.output
    assert not calls


def test_an_unknown_word_is_answered_with_the_known_ones_and_the_nearest() -> None:
    for word, near in (("linaer", "linear"), ("dcgn", "dcgan"), ("tensor_list", "tensor_lists")):
        result = CliRunner().invoke(app, [word], env={"COLUMNS": "1000"})
        assert result.exit_code == 2
        assert f"'{word}' is no command, op, network or system; did you mean '{near}'?" in result.output
        for kind in (
            "commands: compare, conv_norm_act",
            "ops: attention",
            "networks in training",
            "systems: ",
        ):
            assert kind in result.output
    result = CliRunner().invoke(app, ["xyzzy"], env={"COLUMNS": "1000"})
    assert result.exit_code == 2 and "did you mean" not in result.output


def test_every_bench_of_targets_is_a_command_with_the_options_that_all_have() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, Targets)
    shared = {"--device", "--threads", "--quick", "--cold", "--output", "--report"}
    for name in (*BENCHES, "sampler_step", "tensor_lists", "spectral_norm", "gradient_penalty", "quality"):
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert known >= shared, name
        assert name not in BENCHES or BENCHES[name][0] in known
    assert bench_of("upfirdn2d", ["--device", "cuda"]) == "ops" and bench_of("upfirdn2d", []) == "stylegan"
