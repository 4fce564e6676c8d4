"""`genfuse bench sampler_step`: options, the smoke run, and what it writes down."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from genfuse import env
from genfuse_bench.command import app
from genfuse_bench.peers import Diffusers
from genfuse_bench.record import Record, json_line

KEYS = {
    *(
        "commit",
        "dirty",
        "machine",
        "versions",
        "op",
        "solver",
        "shape",
        "dtype",
        "threads",
        "device",
        "peer",
    ),
    *("ours_us", "face_us", "peer_us", "floor_us", "ratio", "floors", "error", "tolerance", "timing"),
}


def run(*options):
    return CliRunner().invoke(app, ["sampler_step", *options])


def test_quick_run_writes_one_json_line_a_row(tmp_path):
    result = run("--quick", "--threads", "1", "--sections", "steps", "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "sampler_step_cpu.jsonl").read_text().splitlines()]
    assert [(line["solver"], line["shape"]) for line in lines] == [
        ("euler", [1, 3, 32, 32]),
        ("ddpm", [1, 3, 32, 32]),
    ]
    for line in lines:
        assert line.keys() >= KEYS
        assert line["error"] <= line["tolerance"]
        assert line["floors"] == pytest.approx(line["ours_us"] / line["floor_us"])
        assert line["threads"] == 1
        assert line["versions"]["torch"] == env.version("torch")


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(Diffusers, "missing", lambda self: "diffusers is not installed")
    result = run("--quick", "--threads", "1", "--sections", "steps", "--solvers", "euler")
    assert result.exit_code == 0, result.output
    assert "peer diffusers: diffusers is not installed" in result.output


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--shapes", "3x0", "1x3x32x32"),
        ("--shapes", "cat", "1x3x32x32"),
        ("--solvers", "eular", "dpmpp_2m"),
        ("--dtype", "int8", "bfloat16"),
        ("--peers", "nobody", "diffusers"),
        ("--sections", "nothing", "launches"),
        ("--device", "warp", "cannot be used"),
        ("--threads", "0", "1"),
    ],
)
def test_bad_options_are_usage_errors(option, value, says):
    result = run("--quick", option, value)
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")


def test_a_row_takes_the_place_of_an_earlier_one_of_its_case(tmp_path):
    from genfuse_bench.launches import LaunchRow
    from genfuse_bench.machine import Machine

    for kernels in (9.0, 1.0):
        record = Record(tmp_path / "r.jsonl")
        record.add(
            [LaunchRow("launches", "euler", who, kernels, 0.0) for who in ("ours", "face")], Machine.here()
        )
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(line["who"], line["kernels"]) for line in lines] == [("ours", 1.0), ("face", 1.0)]


def test_an_output_that_cannot_be_added_to_is_a_usage_error(tmp_path):
    (tmp_path / "sampler_step_cpu.jsonl").write_text("not JSON")
    result = run("--quick", "--output", str(tmp_path))
    assert result.exit_code == 2
    assert "--output" in result.output


def test_json_line_holds_the_row_and_where_it_was_measured():
    from genfuse_bench.launches import LaunchRow
    from genfuse_bench.machine import Machine

    line = json.loads(json_line(LaunchRow("launches", "euler", "ours", 1.0, 0.0), Machine.here()))
    assert (line["op"], line["solver"], line["kernels"], line["host_reads"]) == (
        "launches",
        "euler",
        1.0,
        0.0,
    )
    assert line["machine"]["cores"] >= 1
