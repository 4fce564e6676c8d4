"""The server of examples/: pictures over HTTP are those of `genfuse.sample`, whoever shares the batch."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genfuse
from genfuse.nn.unet import UNetConfig
from genfuse.systems.ddpm import DDPM, DDPMConfig

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
FOLDER = Path(__file__).parents[2] / "examples/server"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import server  # type: ignore[import-not-found]

        yield server


@pytest.fixture(scope="module")
def system() -> DDPM:
    torch.manual_seed(0)
    model = UNetConfig(
        channels=(16,), embedding_channels=16, num_classes=3, num_blocks=1, attention_levels=()
    )
    made = DDPM(DDPMConfig(model), (3, 8, 8), ("a", "b", "c"), seed=0)
    with torch.no_grad():  # the last convolution begins at zero
        for parameter in made.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    made.model.eval()
    return made


@contextmanager
def running(app: Any) -> Iterator[Any]:
    """The app on a port of its own; yields uvicorn's server, whose `port` it is."""
    config = uvicorn.Config(app, port=0, log_level="warning")
    run = uvicorn.Server(config)
    thread = threading.Thread(target=run.run)
    thread.start()
    while not run.started:
        assert thread.is_alive()
        time.sleep(0.01)
    run.port = run.servers[0].sockets[0].getsockname()[1]
    try:
        yield run
    finally:
        run.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def request(run: Any, body: Any) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{run.port}/pictures", data, headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def metrics(run: Any) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")}


def until(run: Any, **values: float) -> None:
    for _ in range(1000):
        found = metrics(run)
        if all(found[f"genfuse_{name}"] == value for name, value in values.items()):
            return
        time.sleep(0.01)
    raise AssertionError(f"metrics stay {found}, expected {values}")


@contextmanager
def left_open(run: Any, **order: Any) -> Iterator[None]:
    """A request whose answer is not waited for: its connection closes at the end of the `with`."""
    body = json.dumps(order).encode()
    lines = ["POST /pictures HTTP/1.1", "Host: x", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    with socket.create_connection(("127.0.0.1", run.port)) as connection:
        connection.sendall(head.encode() + body)
        yield


ORDERS: list[dict[str, Any]] = [
    {"seed": 1, "steps": 30},
    {"seed": 2**64 - 1, "steps": 15, "label": "b", "sampler": "ddpm", "guidance": 3.0},
    {"seed": 3, "steps": 12, "label": "a", "sampler": "dpmpp_sde", "guidance": 1},
    {"seed": 4, "steps": 12, "label": "c", "sampler": "ddim", "options": {"eta": 0.5}},
    {"seed": 5, "steps": 6, "label": "c", "sampler": "heun", "guidance": 0},
]


def test_pictures_are_those_of_each_request_alone(server: Any, system: DDPM) -> None:
    with (
        running(server.create_app(system, system.model, capacity=4)) as run,
        ThreadPoolExecutor(len(ORDERS)) as clients,
    ):
        answers = []
        for order in ORDERS:
            answers.append(clients.submit(request, run, order))
            time.sleep(0.02)  # each joins at another step
        for order, answer in zip(ORDERS, answers, strict=True):
            status, body = answer.result()
            assert status == 200, body
            guided = "label" in order
            label = ["a", "b", "c"].index(order["label"]) if guided else 3
            sampler = genfuse.Sampler(
                order.get("sampler", "dpmpp_2m"),
                order["steps"],
                clip=1.0,
                guidance=order.get("guidance", 2.0) if guided else 1.0,
                **order.get("options", {}),
            )
            made = genfuse.sample(
                system.model,
                (1, 3, 8, 8),
                sampler=sampler,
                seeds=[order["seed"]],
                cond={"label": torch.tensor([label])},
                uncond={"label": torch.tensor([3])},
            )
            assert isinstance(made, torch.Tensor)
            assert body == server.png(made[0]), order
            picture = np.asarray(Image.open(io.BytesIO(body)))
            assert picture.shape == (8, 8, 3) and picture.std() > 1
        found = metrics(run)
        assert found["genfuse_pictures_total"] == len(ORDERS) and found["genfuse_failed_total"] == 0
        assert found["genfuse_member_steps_total"] > 1.2 * found["genfuse_steps_total"]  # they did share
        assert found["genfuse_pictures_per_second"] > 0 and found["genfuse_batch_members"] == 0


BAD: list[tuple[Any, int, str]] = [
    ({"steps": 0}, 422, "steps is 0: Input should be greater than or equal to 1"),
    ({"steps": 1001}, 422, "less than or equal to 1000"),
    ({"seed": -1}, 422, "seed is -1"),
    ({"seed": "x"}, 422, "seed is 'x'"),
    ({"guidance": float("nan")}, 422, "guidance is nan: Input should be a finite number"),
    ({"stepz": 3}, 422, "stepz is 3: Extra inputs are not permitted"),
    ({"sampler": "dpmpp"}, 422, "expected one of"),
    ({"label": "dog"}, 422, "dog"),
    ({"options": {"eta": 0.5}}, 422, "option"),
    ({"options": {"guidance": 5}}, 422, "options has ['guidance'], expected the solver's own"),
    ({"sampler": "flow_euler"}, 422, "schedule is"),
    (b"{", 422, "JSON decode error"),
    (b'{"label": "' + b"a" * 70000 + b'"}', 413, "expected at most 65536 bytes"),
]


def test_bad_requests_say_what_was_expected(server: Any, system: DDPM) -> None:
    with running(server.create_app(system, system.model, capacity=2)) as run:
        for body, status, message in BAD:
            found, answer = request(run, body)
            assert found == status and message in json.loads(answer)["detail"], (body, found, answer)
        assert request(run, {"steps": 2})[0] == 200


def test_a_full_queue_and_clients_that_go(server: Any, system: DDPM) -> None:
    with running(server.create_app(system, system.model, capacity=1, limit=1)) as run:
        long = {"sampler": "ddpm", "steps": 1000}
        with left_open(run, **long):
            until(run, batch_members=1)
            with left_open(run, **long):
                until(run, waiting=1)
                status, answer = request(run, long)
                assert status == 503 and b"1 requests wait already" in answer
        until(run, batch_members=0, waiting=0, cancelled_total=2, refused_total=1, pictures_total=0)
        assert request(run, {"steps": 2})[0] == 200


def test_a_network_that_fails_ends_its_requests_alone(server: Any, system: DDPM) -> None:
    broken = threading.Event()

    def network(x: torch.Tensor, t: torch.Tensor, **cond: Any) -> Any:
        if broken.is_set():
            raise OSError("no memory")
        return system.model(x, t, **cond)

    with running(server.create_app(system, network)) as run:
        broken.set()
        status, answer = request(run, {"steps": 2})
        assert status == 500 and b"the network failed: no memory" in answer
        broken.clear()
        assert request(run, {"steps": 2})[0] == 200
        assert metrics(run)["genfuse_failed_total"] == 1


def test_requests_that_run_are_served_before_the_server_ends(server: Any, system: DDPM) -> None:
    with ThreadPoolExecutor(1) as client:
        with running(server.create_app(system, system.model)) as run:
            answer = client.submit(request, run, {"steps": 100})
            until(run, batch_members=1)
        assert answer.result()[0] == 200
