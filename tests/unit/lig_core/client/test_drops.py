"""Against a real server on a real socket that breaks the connection again and again."""

import socket
import threading
import time

import pytest
import uvicorn

from lig_core.client import ServiceUnreachable
from lig_core.errors import InvalidRequest

EVENTS = [
    b"id: 1-0\nevent: queued\ndata: {}\n\n",
    b'id: 2-0\nevent: started\ndata: {"attempt":1}\n\n',
    *(b'id: 3-%d\nevent: layer\ndata: {"layer":%d,"maps":{"text":"\xe2\x80\xa8"}}\n\n' % (n, n) for n in range(10)),
    b'id: 4-0\nevent: succeeded\ndata: {"converged":true}\n\n',
]
IDS = [event.split(b"\n")[0][4:].decode() for event in EVENTS]
START = {"type": "http.response.start", "status": 200}


class Drop(Exception):
    """Makes the server close the connection without ending the answer."""


class Unreliable:
    """Sends one more event on each connection, then breaks it as `how` says."""

    def __init__(self, how):
        self.how, self.connections = how, 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.connections += 1
        last = dict(scope["headers"]).get(b"last-event-id", b"").decode()
        index = IDS.index(last) + 1 if last else 0
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        if self.connections % 3 == 0:
            raise Drop  # before anything was told
        body = b"retry: 0\n\n: hello\n\n" + EVENTS[index]
        if self.how == "within the next event" and index + 1 < len(EVENTS):
            following = EVENTS[index + 1]
            body += following[: -1 - self.connections % (len(following) - 1)]
        await send({"type": "http.response.body", "body": body, "more_body": self.how != "in good order"})
        if self.how != "in good order":
            raise Drop


class File:
    """Breaks the connection in the middle of the body, twice."""

    def __init__(self):
        self.connections = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.connections += 1
        await send({**START, "headers": [(b"content-type", b"application/x-npz"), (b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if self.connections < 3:
            raise Drop
        await send({"type": "http.response.body", "body": b"rest"})


@pytest.fixture
def serve():
    """Serves an application in a thread; gives its address."""
    running = []

    def start(app):
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.parametrize("how", ["between events", "within the next event", "in good order"])
def test_dropped_after_every_event_each_is_seen_once_and_in_order(connect, serve, how):
    app = Unreliable(how)
    seen = list(connect(serve(app)).events("j"))
    assert [event.id for event in seen] == IDS
    assert [event.data["layer"] for event in seen if event.name == "layer"] == list(range(10))
    assert app.connections >= len(EVENTS)


def test_a_download_that_breaks_begins_again_and_is_whole(connect, serve, tmp_path):
    app = File()
    path = connect(serve(app)).download("j", tmp_path / "result.npz")
    assert path.read_bytes() == b"halfrest"
    assert app.connections == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_download_that_fails_leaves_what_was_there(connect, serve, tmp_path):
    (tmp_path / "result.npz").write_bytes(b"before")
    with pytest.raises(ServiceUnreachable):
        connect(serve(File()), max_retries=1).download("j", tmp_path / "result.npz")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]


def test_a_file_name_without_a_format_is_refused_before_anything_is_sent(connect, tmp_path):
    with pytest.raises(InvalidRequest, match=r"\.npz, \.safetensors"):
        connect("http://127.0.0.1:1").download("j", tmp_path / "result.txt")
