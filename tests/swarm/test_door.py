"""The particles' own door: it leads to their routes, for who has the token, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from keras_actrec.swarm import door

router = APIRouter(prefix="/particles/{index}")


@router.get("/hello")
async def hello(index: int) -> int:
    return index


@pytest.fixture
def page() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as connection:
        yield connection


def test_particles_of_this_machine_use_the_pages_address(page: socket.socket) -> None:
    with door.opened("127.0.0.1", page, None, router) as (url, own):
        assert own is None
        assert url == f"http://127.0.0.1:{page.getsockname()[1]}"


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_particles_of_this_machine_do_not_need_its_name(page: socket.socket, host: str, shown: str) -> None:
    with door.opened(host, page, None, router, local=True) as (url, own):
        assert own is None
        assert url == f"http://{shown}:{page.getsockname()[1]}", "the name of a laptop or a container may lead nowhere"


def test_a_page_that_others_reach_needs_no_second_door(page: socket.socket) -> None:
    with door.opened("0.0.0.0", page, "10.0.0.7", router) as (url, own):
        assert own is None
        assert url == f"http://10.0.0.7:{page.getsockname()[1]}", "not by a name that other machines may not know"


def test_a_page_for_this_machine_alone_gets_a_door_for_particles(page: socket.socket) -> None:
    with door.opened("127.0.0.1", page, "127.0.0.2", router) as (url, own):
        assert own is not None
        host, port = own.connection.getsockname()
        assert (host, url) == ("127.0.0.2", f"http://127.0.0.2:{port}")
        assert port != page.getsockname()[1]
        client = TestClient(own.web.config.app, base_url=url)
        assert client.get("/particles/3/hello").json() == 3
        for path in ("/", "/api/state", "/docs", "/openapi.json"):
            assert client.get(path).status_code in (403, 404)
        assert client.post("/api/stop").status_code in (403, 404)
        assert client.get("/particles/3/hello", headers={"Host": "evil.example"}).status_code == 403
