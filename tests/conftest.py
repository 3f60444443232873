from __future__ import annotations

import functools
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

for _name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)  # what rich, typer and pytest make of a terminal
for _name in [name for name in os.environ if name.startswith(("LIG_", "HF_")) or name.lower().endswith("_proxy")]:
    del os.environ[_name]  # the user's own service and cache of models; and nothing here is beyond this machine
os.environ["HF_HUB_OFFLINE"] = "1"  # no test needs the hub
os.environ["HF_ASSETS_CACHE"] = str(Path(__file__).parents[1] / ".cache" / "assets")  # what is converted, once for all
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' matrices are small, and tests run side by side
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts in the background so, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _ignored in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.SIG_DFL)

hypothesis.settings.register_profile(
    "steady",
    deadline=None,  # a loaded machine is slow, not wrong
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
hypothesis.settings.load_profile("steady")

if TYPE_CHECKING:
    from redis import Redis

    from lig_core.loading.loaded import LoadedModel
    from tests.running.by_hand import ByHand


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lig")
    group.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in an order drawn from SEED")
    group.addoption("--texts", type=int, default=1, metavar="SEED", help="draw the texts of `make batches` from SEED")
    group.addoption("--rounding", type=int, metavar="SEED", help="on a processor drawn from SEED: see other_rounding")
    group.addoption("--room", type=int, metavar="N", help="list the N comparisons of numbers with the least room")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


@pytest.fixture(scope="session", autouse=True)
def other_rounding(request: pytest.FixtureRequest) -> Iterator[None]:
    seed = request.config.getoption("--rounding")
    if seed is None:
        yield
        return
    from tests.support.other_rounding import OtherRounding

    with OtherRounding(seed):
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.getoption("--room")
    if count is not None:
        from tests.support import closeness

        terminalreporter.section("share of its room that a comparison used")
        for test, share in sorted(closeness.used.items(), key=lambda entry: -entry[1])[:count]:
            terminalreporter.line(f"{share:9.2g}  {test}")


@pytest.fixture(scope="session")
def minilm() -> LoadedModel:
    """The bundled model, loaded once."""
    from lig_core.loading.loaded import load_model
    from lig_core.models.catalog import find_model

    return load_model(find_model("minilm"), device="cpu")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis, one for all tests; returns its address."""
    from service.process.embedded import embedded_redis

    with embedded_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def redis(redis_server: str) -> Iterator[Redis]:
    """A connection to it, after everything in it is gone."""
    from redis import Redis

    with Redis.from_url(redis_server) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def redis_url(redis_server: str, redis: Redis) -> str:
    return redis_server


@pytest.fixture
def by_hand(redis_url: str, redis: Redis) -> Callable[..., ByHand]:
    """Makes stores, with the worker's moves in the test's hands."""
    from tests.running.by_hand import ByHand

    return functools.partial(ByHand, redis_url, redis)


BROWSER_FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
BROWSER_MILLISECONDS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, for one module only: as long as it is open, asyncio's loop is taken."""
    from tests import programs

    path = programs.require("Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=BROWSER_FLAGS.split(), timeout=BROWSER_MILLISECONDS
        )
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser: Any) -> Iterator[Any]:
    """Makes browser contexts, in which pages are waited for as long as a loaded machine needs."""
    made = []

    def make(**options: Any) -> Any:
        made.append(browser.new_context(**options))
        made[-1].set_default_timeout(BROWSER_MILLISECONDS)
        return made[-1]

    yield make
    for context in made:
        context.close()
