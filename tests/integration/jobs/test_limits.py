"""What one client may take of the API before a request of its is there: bytes, time, connections."""

import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

HEAD, HEAD_SECONDS, BODY_SECONDS = 8192, 3.0, 4.0
MOST, MOST_OF_ONE = 60, 30
LINE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Api:
    """A process whose limits are narrow, and raw connections to it."""

    def __init__(self, port, process):
        self.port, self.process = port, process

    def open(self, data=b"", source="127.0.0.1"):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(source, 0))
        connection.sendall(data)
        return connection

    def answers(self, source="127.0.0.1"):
        with self.open(LINE + b"Connection: close\r\n\r\n", source) as connection:
            return read(connection).startswith(b"HTTP/1.1 200")


def read(connection):
    """All up to the end, be it a reset."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(2**16):
            found += part
    return found


def problem(answer):
    """Status and code of an answer that is one problem, after which the connection is closed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = head.lower()
    assert b"content-type: application/problem+json" in fields and b"connection: close" in fields
    assert b"content-length: %d" % len(body) in fields
    shown = json.loads(body)
    assert answer.startswith(b"HTTP/1.1 %d " % shown["status"])
    return shown["status"], shown["code"]


@pytest.fixture(scope="module")
def limited(redis_server):
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        told = {
            "LIG_REDIS_URL": redis_server,
            "LIG_LOG_LEVEL": "warning",
            "LIG_MAX_HEAD_BYTES": str(HEAD),
            "LIG_HEAD_TIMEOUT": str(HEAD_SECONDS),
            "LIG_BODY_TIMEOUT": str(BODY_SECONDS),
            "LIG_SEND_TIMEOUT": "1",
            "LIG_MAX_CONNECTIONS": str(MOST),
            "LIG_MAX_CLIENT_CONNECTIONS": str(MOST_OF_ONE),
            "LIG_TRUSTED_PROXIES": "[]",  # this machine is one client among others
        }
        command = [sys.executable, "-m", "service.process.server", "--listener-fd", str(listener.fileno())]
        process = subprocess.Popen(command, env={**os.environ, **told}, pass_fds=[listener.fileno()])
        api = Api(listener.getsockname()[1], process)
        httpx.get(f"http://127.0.0.1:{api.port}/livez", timeout=100)
    yield api
    process.terminate()
    process.wait(60)


def head_of(size, shape):
    """A request for /livez whose line and fields are of that size, as the service counts: the path, and each field."""
    fields = {b"Host": b"localhost", b"Connection": b"close"}
    path, left = b"/livez", size - len(b"/livez") - sum(len(name) + len(value) + 4 for name, value in fields.items())
    if shape == "one field":
        fields[b"X"] = b"a" * (left - 5)
    elif shape == "many fields":
        names = [b"X%04d" % number for number in range(left // 10 - 1)]
        fields |= dict.fromkeys(names, b"a")
        fields[b"Y"] = b"a" * (left - 10 * len(names) - 5)
    else:
        path += b"?" + b"a" * (left - 1)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields.items())
    return b"GET " + path + b" HTTP/1.1\r\n" + lines + b"\r\n"


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("shape", ["one field", "many fields", "path"])
def test_a_head_up_to_the_limit_is_taken_and_one_beyond_it_is_not(limited, shape, pieces):
    def ask(size):
        data = head_of(size, shape)
        step = len(data) // pieces + 1
        with limited.open() as connection:
            for start in range(0, len(data), step):
                connection.sendall(data[start : start + step])
                time.sleep(0.01)
            return read(connection)

    assert ask(HEAD).startswith(b"HTTP/1.1 200")
    assert problem(ask(HEAD + 1)) == (431, "head_too_large")


ENDLESS = {
    "a field": (LINE + b"X-A: ", b"a" * 2**16),
    "the name of a field": (LINE, b"a" * 2**16),
    "fields": (LINE, b"A: b\r\n" * 2**13),
    "the path": (b"GET /", b"a" * 2**16),
    "the method": (b"", b"A" * 2**16),
    "a chunk's extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 2**16),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"A: b\r\n" * 2**13),
    "a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-A: ", b"a" * 2**16),
    "the body": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 2**16 + b"\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_is_cut_and_takes_no_memory(limited, what):
    begin, more = ENDLESS[what]
    before, sent = psutil.Process(limited.process.pid).memory_info().rss, 0
    with limited.open(begin) as connection, contextlib.suppress(ConnectionError):
        while sent < 300 * 2**20:
            connection.sendall(more)
            sent += len(more)
    assert sent < 30 * 2**20
    assert psutil.Process(limited.process.pid).memory_info().rss - before < 16 * 2**20
    assert limited.answers()


HALVES = {
    "nothing": (b"", None),
    "blank lines": (b"\r\n\r\n", None),
    "half a line": (b"GET /liv", 408),
    "half a field": (LINE + b"X-A: b", 408),
    "half a body": (POST + b"Content-Length: 50\r\n\r\n{", 408),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408),
    "no body": (POST + b"Content-Length: 50\r\n\r\n", 408),
}


def test_half_a_request_is_closed_in_time(limited):
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        opened = {what: stack.enter_context(limited.open(data)) for what, (data, _) in HALVES.items()}
        answers = {what: read(connection) for what, connection in opened.items()}
    assert time.monotonic() - begun > HEAD_SECONDS - 0.1
    for what, (_, status) in HALVES.items():
        answer = answers[what]
        assert (problem(answer) if answer else None) == ((status, "request_timeout") if status else None), what


@pytest.mark.parametrize(
    ("begin", "drop"),
    [(LINE + b"X-A: ", b"a"), (b"", b"\r\n"), (POST + b"Content-Length: 100000\r\n\r\n{", b" ")],
    ids=["a head", "blank lines", "a body"],
)
def test_a_request_that_comes_by_drops_is_closed_in_time(limited, begin, drop):
    sent = 0
    with limited.open(begin) as connection, contextlib.suppress(ConnectionError):
        while sent < 10_000:
            connection.sendall(drop)
            sent += 1
            time.sleep(0.02)
    assert sent < 10_000


def test_a_connection_between_two_requests_is_closed_in_time(limited):
    with limited.open(LINE + b"\r\n") as connection:
        assert read(connection).startswith(b"HTTP/1.1 200")


def test_a_request_that_waits_for_its_answer_is_not_cut(limited):
    job = httpx.post(f"http://127.0.0.1:{limited.port}/explain", json={"text": "hi", "model": "minilm"}).json()["id"]
    path = f"/v1/jobs/{job}?wait=6"
    begun = time.monotonic()
    with limited.open(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) as connection:
        assert read(connection).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - begun > 5.9  # longer than a head or a body may take


def test_a_connection_whose_client_reads_nothing_is_closed_in_time(limited):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", limited.port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)  # 20 MB of answers
        port = connection.getsockname()[1]
        while any(each.raddr and each.raddr.port == port for each in held(limited)):
            time.sleep(0.05)


def held(api):
    """The connections that the process has."""
    return [each for each in psutil.Process(api.process.pid).net_connections("tcp") if each.laddr.port == api.port]


@pytest.mark.parametrize("data", [b"", LINE], ids=["nothing said", "half a head"])
def test_connections_that_only_wait_shut_nobody_out(limited, data):
    with contextlib.ExitStack() as stack:
        for _ in range(2000):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(limited.open(data))
        assert limited.answers()
        assert limited.answers(source="127.0.0.2")
        assert len([each for each in held(limited) if each.status == psutil.CONN_ESTABLISHED]) <= MOST


def test_connections_with_requests_under_way_are_limited_for_each_client(limited):
    job = httpx.post(f"http://127.0.0.1:{limited.port}/explain", json={"text": "hi", "model": "minilm"}).json()["id"]
    waiting = f"GET /v1/jobs/{job}?wait=20 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        ours = [stack.enter_context(limited.open(waiting)) for _ in range(MOST_OF_ONE)]
        deadline = time.monotonic() + 15
        while True:  # until all of them are read
            with limited.open() as one_more:
                answer = read(one_more)
            if answer:
                break
            assert time.monotonic() < deadline
        assert problem(answer) == (503, "too_many_connections")
        assert b"retry-after" in answer.lower()
        assert limited.answers(source="127.0.0.2")
        assert not any(select.select(ours, [], [], 0))  # none of them was cut for it


def test_what_is_not_http_is_a_problem(limited):
    with limited.open(b"\x16\x03\x01 hello\r\n\r\n") as connection:
        assert problem(read(connection)) == (400, "malformed_http")


def test_open_files_are_raised_to_what_the_connections_need():
    script = (
        "import resource as r; from service.process.connections import places; "
        "r.setrlimit(r.RLIMIT_NOFILE, (300, 1000)); "
        "print(places(500), r.getrlimit(r.RLIMIT_NOFILE)[0], places(5000), r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 1000
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["500", "756", "744", "1000"]
