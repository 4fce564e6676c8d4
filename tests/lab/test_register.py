"""`genfuse.register`: a kernel file runs where dispatch chooses, is picked up when it changes, or refused in words."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
import torch

import genfuse
from genfuse.lab import scaffold

NAMES = "def norm_direction(norms, direction, x):\n"
PYTHON = f"""import torch
{NAMES}    wide = x.float()
    norms.copy_(torch.linalg.vector_norm(wide.flatten(1), dim=1) * FACTOR)
    direction.copy_(torch.nn.functional.normalize(wide.flatten(1), dim=1).view_as(wide))
"""

CPP = """#include "genfuse/norm_stats.h"
// genfuse: dtypes=float32
#include "mine.h"
GENFUSE_KERNEL(args) {
    if (args.x.size[1] == 7) return "has seven channels";
    for (int64_t i = 0; i < genfuse::numel(args.out); ++i) genfuse::store(args.out, i, VALUE);
    return nullptr;
}
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "cache"))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def python(path: Path, factor: float) -> Path:
    return written(path, PYTHON.replace("FACTOR", str(factor)))


def norm(x: torch.Tensor) -> float:
    return float(genfuse.ops.norm_direction(x)[0][0])


def test_a_file_runs_until_it_is_unregistered_and_the_earlier_one_comes_back(tmp_path):
    x = torch.randn(2, 5)
    plain = norm(x)
    first = genfuse.register(python(tmp_path / "first.py", 2.0))
    with genfuse.register(python(tmp_path / "second.py", 4.0)):
        assert norm(x) == pytest.approx(4 * plain)
        with genfuse.backend("aten"):
            assert norm(x) == pytest.approx(plain)
    assert norm(x) == pytest.approx(2 * plain)
    choice = genfuse.explain("norm_direction", x)
    assert choice.backend == "user" and str(tmp_path / "first.py") in choice.reason
    with genfuse.backend("cpu"):
        assert "a backend is forced" in str(genfuse.explain("norm_direction", x))
    genfuse.unregister("norm_direction")
    assert norm(x) == pytest.approx(plain)
    first.unregister()
    with pytest.raises(ValueError, match="no kernel is registered"):
        genfuse.unregister("norm_direction")


def test_a_change_is_picked_up_by_content_where_its_times_and_size_are_the_same(tmp_path):
    x, path = torch.randn(2, 5), python(tmp_path / "mine.py", 2.0)
    plain, before = norm(x), path.stat()
    with genfuse.register(path):
        assert norm(x) == pytest.approx(2 * plain)
        python(path, 8.0)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert norm(x) == pytest.approx(8 * plain)
        written(path, "def norm_direction(norms, direction, x:\n")
        with pytest.raises(genfuse.KernelError, match=r"mine\.py:1: "):
            norm(x)
        path.unlink()
        with pytest.raises(genfuse.KernelError, match="not there any more"):
            norm(x)


def test_a_cpp_kernel_its_headers_what_it_declines_and_what_it_does_not_take(tmp_path):
    header = written(tmp_path / "mine.h", "#define VALUE 3.0\n")
    path, x = written(tmp_path / "mine.cpp", CPP), torch.randn(2, 3, 4, 4)
    with genfuse.register(path) as registered:
        assert (genfuse.ops.norm_stats(x) == 3).all()
        written(header, "#define VALUE 5.0\n")
        assert (genfuse.ops.norm_stats(x) == 5).all()
        seven = torch.randn(2, 7, 4, 4)
        torch.testing.assert_close(genfuse.ops.norm_stats(seven)[..., 0], seven.mean((2, 3)))
        assert "it takes torch.float32" in str(genfuse.explain("norm_stats", x.half()))
        registered.strict = True
        with pytest.raises(genfuse.UnsupportedError, match=r"mine\.cpp: has seven channels"):
            genfuse.ops.norm_stats(seven)
    library = next((tmp_path / "cache" / "lab").glob("norm_stats-*.so"))
    assert library.parent.stat().st_mode & 0o077 == 0


def test_a_damaged_library_is_compiled_again_and_a_folder_of_others_is_refused(tmp_path):
    written(tmp_path / "mine.h", "#define VALUE 3.0\n")
    path = written(tmp_path / "mine.cpp", CPP)
    genfuse.register(path).unregister()
    library = next((tmp_path / "cache" / "lab").glob("*.so"))
    content = library.read_bytes()
    library.unlink()  # what is loaded stays as it is
    library.write_bytes(b"damaged")
    genfuse.register(path).unregister()
    assert library.read_bytes() == content
    library.parent.chmod(0o777)
    with pytest.raises(genfuse.KernelError, match="not yours alone"):
        genfuse.register(path)


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("mine.cpp", CPP.replace("VALUE)", "oops)"), r"mine\.cpp:6:\d+: error: .*oops"),
        ("mine.cpp", '#include "genfuse/norm_state.h"\n', r"mine\.cpp:1: .*did you mean 'norm_stats'"),
        ("mine.cpp", "int main() {}\n", "does not include the header of an op"),
        ("mine.cpp", '\n#include "genfuse/norm_stats.h"\n', r"mine\.cpp:2: .*defines no kernel"),
        ("mine.cpp", CPP.replace("dtypes=float32", "dtypes=float8"), r"mine\.cpp:2: .*float8"),
        ("mine.cpp", CPP.replace("dtypes=float32", "wings=2"), r"mine\.cpp:2: .*wings"),
        ("mine.py", "import nowhere\n" + NAMES + "    pass\n", r"mine\.py:1: ModuleNotFoundError"),
        (
            "mine.py",
            "\ndef norm_direction(norms, x):\n    pass\n",
            r"mine\.py:2: .*'direction'; expected def",
        ),
        (
            "mine.py",
            "def norm_direction(norms, x, direction):\n    pass\n",
            "another order than norms, direction",
        ),
        (
            "mine.py",
            "def norm_direction(norms, direction, x, y):\n    pass\n",
            "nobody gives its argument 'y'",
        ),
        ("mine.py", "def norm_directions(x):\n    pass\n", "no function of an op's name"),
        (
            "mine.py",
            NAMES + "    pass\ndef linear(x):\n    pass\n",
            r"several ops \(norm_direction, linear\)",
        ),
        ("mine.rs", "", "expected one of .cpp"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_users_own_line(tmp_path, name, text, says):
    written(tmp_path / "mine.h", "#define VALUE 3.0\n")
    with pytest.raises(genfuse.KernelError, match=says):
        genfuse.register(written(tmp_path / name, text))
    assert genfuse.explain("norm_direction", torch.ones(1, 1)).backend == "cpu"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no kernel file .*mine\.cpp"):
        genfuse.register(tmp_path / "mine.cpp")


def test_a_traceback_ends_in_the_users_own_line(tmp_path):
    path = written(tmp_path / "mine.py", NAMES + "    x = x.float()\n    norms += x.nowhere\n")
    with genfuse.register(path), pytest.raises(AttributeError) as raised:
        genfuse.ops.norm_direction(torch.ones(1, 1))
    last = traceback.extract_tb(raised.tb)[-1]
    assert (last.filename, last.lineno, last.line) == (str(path), 3, "norms += x.nowhere")


def test_ways_past_dispatch_are_closed_while_a_kernel_is_registered(tmp_path):
    """A sampler's plan, a list op's direct call and an optimised network's plan."""
    path = scaffold.new("sampler_step", tmp_path / "mine", "python")
    text = path.read_text()
    path.write_text(text.replace("aten_impl.sampler_step(**made)", "made['out'] = torch.full_like(out, 7.0)"))
    sampler, x = genfuse.Sampler("euler", 4), torch.randn(1, 3, 8, 8)
    sampler.step(x, 0, x.clone(), out=torch.empty_like(x))
    network = genfuse.optimize(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval())
    with torch.no_grad():
        before = network(x)
        with genfuse.register(path):
            assert (sampler.step(x, 1, x.clone(), out=torch.empty_like(x)) == 7).all()
        conv = written(tmp_path / "conv.py", CONV)
        with genfuse.register(conv):
            assert (network(x) == 7).all()
        assert torch.equal(network(x), before)
    weights = [torch.full((3,), 2.0)]
    with genfuse.register(written(tmp_path / "clip.py", "def clip_weights(parameters, bound):\n    pass\n")):
        genfuse.ops.clip_weights(weights, 1.0)
        assert (weights[0] == 2).all()
    genfuse.ops.clip_weights(weights, 1.0)
    assert (weights[0] == 1).all()


CONV = """
def conv_norm_act(out, stats_out, x, weight, bias, settings, **tensors):
    out.fill_(7.0)
"""
