"""Pictures over HTTP: requests of any seed, sampler, steps and guidance share a batch, and join it at any step.

    python server.py --port 8000                                   # the shipped checkpoint, or: --checkpoint FILE
    curl -X POST localhost:8000/pictures -H 'content-type: application/json' \
         -d '{"seed": 1, "label": "flags", "sampler": "ddpm", "steps": 50, "guidance": 3}' -o flag.png

A request's picture is the same, bit for bit, whoever else is in the batch. 422: what was wrong with the request, and
what was expected; 503: the queue is full, or the server stops. `/metrics` is for Prometheus.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import uvicorn
from batcher import Batcher, Full, Stopping
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send
from torch import Tensor

import genfuse
from genfuse.data.grid import image_grid
from genfuse.samplers.loop import Model
from genfuse.systems.ddpm import DDPM
from genfuse.systems.sampling import SHIPPED

MOST_STEPS = 1000
MOST_BYTES = 1 << 16
"""Of a request's body."""
DISCONNECT_SECONDS = 0.1
"""How often a request looks whether anybody still waits for it."""


class Order(BaseModel):
    """A picture that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int = Field(0, ge=0, lt=2**64)
    label: str | None = None
    sampler: str = "dpmpp_2m"
    steps: int = Field(20, ge=1, le=MOST_STEPS)
    guidance: float = Field(2.0, ge=0, le=100, allow_inf_nan=False)
    options: dict[str, bool | int | float | str] = Field(default={}, max_length=16)
    """The solver's own: eta, order, ..."""


def create_app(
    system: DDPM, network: Model, *, capacity: int = 16, limit: int = 64, device: str = "cpu"
) -> FastAPI:
    """The server of a trained system.

    network   the system's, as it is run
    capacity  pictures in the batch
    limit     requests that wait for a place
    """
    batch = genfuse.ContinuousBatch(
        network,
        system.image_shape,
        capacity=capacity,
        batch_sizes=batch_sizes(capacity),
        device=device,
    )
    batcher = Batcher(batch, limit)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(batcher.run())
        yield
        batcher.stop()
        await running

    app = FastAPI(title="genfuse", lifespan=lifespan)
    app.add_middleware(BodyLimit)
    app.exception_handler(RequestValidationError)(_explain)

    @functools.lru_cache(maxsize=256)
    def sampler(
        name: str, steps: int, guidance: float, options: tuple[tuple[str, Any], ...]
    ) -> genfuse.Sampler:
        config = system.config
        given = {
            "schedule": config.schedule,
            "prediction": config.prediction,
            "clip": 1.0,
            "guidance": guidance,
        }
        given |= {"seeds": 0}  # the batch brings its own
        if clash := set(given) & {key for key, _ in options}:
            raise TypeError(f"options has {sorted(clash)}, expected the solver's own")
        return genfuse.Sampler(name, steps, **given, **dict(options))

    def arrival(order: Order) -> dict[str, Any]:
        """What the batch is given. ValueError or TypeError, naming what is wrong."""
        classes, given = system.config.model.num_classes, order.guidance
        if order.label is None or not classes:
            given = 1.0
        place = sampler(order.sampler, order.steps, given, tuple(sorted(order.options.items())))
        nothing = {"label": torch.tensor(classes)} if classes else {}
        label = nothing if order.label is None else {"label": torch.tensor(system.label(order.label))}
        return {
            "sampler": place,
            "seed": order.seed,
            "cond": label,
            "uncond": nothing if place.guided else None,
        }

    @app.post("/pictures", response_class=Response)
    async def picture(order: Order, request: Request) -> Response:
        try:
            joining = await asyncio.to_thread(arrival, order)
            sample = await _while_connected(request, batcher.sample(**joining))
        except (ValueError, TypeError) as error:
            raise HTTPException(422, str(error)) from error
        except Full as error:
            raise HTTPException(503, f"{limit} requests wait already", {"Retry-After": "1"}) from error
        except Stopping as error:
            raise HTTPException(503, "the server stops", {"Retry-After": "10"}) from error
        except RuntimeError as error:
            raise HTTPException(500, str(error)) from error
        return Response(await asyncio.to_thread(png, sample), media_type="image/png")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        gauges = {
            "batch_members": len(batch),
            "batch_capacity": capacity,
            "waiting": batcher.waiting,
            "pictures_per_second": batcher.pictures_per_second(),
        }
        counters = {f"{name}_total": value for name, value in asdict(batcher.counts).items()}
        kinds = (("gauge", gauges), ("counter", counters))
        return "".join(
            f"# TYPE genfuse_{name} {kind}\ngenfuse_{name} {value}\n"
            for kind, values in kinds
            for name, value in values.items()
        )

    return app


def batch_sizes(capacity: int) -> list[int]:
    """Powers of two, so that the network is planned for few sizes; a guided picture takes two rows."""
    return [2**power for power in range((2 * capacity - 1).bit_length() + 1)]


@torch.no_grad()
def warm_up(network: Model, system: DDPM, sizes: list[int], device: str) -> None:
    """Plan the network for every size now, not while the first requests wait."""
    for size in sizes:
        label = {"label": torch.zeros(size, dtype=torch.int64, device=device)}
        x = torch.zeros(size, *system.image_shape, device=device)
        network(x, torch.zeros(size, device=device), **(label if system.config.model.num_classes else {}))


def png(sample: Tensor) -> bytes:
    """(C, H, W) in [−1, 1], one channel or three, as a PNG."""
    picture = image_grid(sample[None].cpu(), gap=0)
    if len(sample) == 1:
        picture = picture[..., 0]
    file = io.BytesIO()
    Image.fromarray(picture.numpy()).save(file, "PNG")
    return file.getvalue()


async def _while_connected(request: Request, sample: Any) -> Tensor:
    """Its result; cancelled as soon as nobody waits for it."""
    task = asyncio.ensure_future(sample)
    try:
        while not (await asyncio.wait({task}, timeout=DISCONNECT_SECONDS))[0]:
            if await request.is_disconnected():
                raise HTTPException(499, "the client has gone")
        return task.result()
    finally:
        task.cancel()


class BodyLimit:
    """413 for a body that is larger than `MOST_BYTES`, or does not say how large it is, before it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
            if not (length.isdigit() and int(length) <= MOST_BYTES):
                detail = f"content-length is {length or 'missing'}, expected at most {MOST_BYTES} bytes"
                await JSONResponse({"detail": detail}, 413)(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _explain(request: Request, error: RequestValidationError) -> JSONResponse:
    """Where, what was expected, what was given: as text, since JSON cannot hold every value that was refused."""
    parts = [
        f"{'.'.join(str(key) for key in each['loc'][1:]) or 'body'} is {each['input']!r:.100}: {each['msg']}"
        for each in error.errors()
    ]
    return JSONResponse({"detail": "; ".join(parts)}, 422)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help="of a ddpm system")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--capacity", type=int, default=16, help="pictures in the batch")
    parser.add_argument("--limit", type=int, default=64, help="requests that wait for a place")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    system = genfuse.systems.load(given.checkpoint)
    if not isinstance(system, DDPM):
        parser.error(f"{given.checkpoint} is of the system {system.name}, expected ddpm")
    network = genfuse.optimize(system.model.eval().to(given.device))
    warm_up(network, system, batch_sizes(given.capacity), given.device)
    app = create_app(system, network, capacity=given.capacity, limit=given.limit, device=given.device)
    uvicorn.run(app, host=given.host, port=given.port)


if __name__ == "__main__":
    main()
