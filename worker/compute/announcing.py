"""Tells the API which models are here without the hub, and what identifies their content.

An API without the files, or without the weights, takes from this what a name means and which results are of the same
model. All workers of a queue have the same models, for any of them may get any job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lig_core.models.catalog import installed_models
from lig_core.models.identity import model_identity
from lig_core.serving.queue import names

EVERY_SECONDS = 5.0
KEPT_SECONDS = 24 * 3600
"""How long it is known what was here, once there is no worker any more."""

log = logging.getLogger(__name__)


class Announcer:
    """Keeps the hash of models up to date, from a thread of its own: reading weights takes a second a gigabyte.

    A folder is read once a job was computed with it, and again when its files change; the others are named only.
    """

    def __init__(self, redis: Redis, queue: str, models_folder: Path | None) -> None:
        self._redis, self._models_folder = redis, models_folder
        self._key = names.key("models", queue)

    def start(self) -> Callable[[], None]:
        """Announce from now on, until what is returned is called."""
        stop = threading.Event()
        threading.Thread(target=self._run, args=(stop,), daemon=True, name="announcer").start()
        return stop.set

    def tell(self) -> None:
        """Write down the models that are here now, and take out those that are gone."""
        stored: Any = self._redis.hgetall(self._key)
        announced = {name.decode(): identity.decode() for name, identity in stored.items()}
        cards = {card.name: card for card in installed_models(self._models_folder)}
        for name, card in cards.items():
            identity = (model_identity(card) or "") if card.is_bundled or announced.get(name) else ""
            if announced.get(name) != identity:
                self._redis.hset(self._key, name, identity)
        gone = announced.keys() - cards.keys()
        if gone:
            self._redis.hdel(self._key, *gone)
        self._redis.expire(self._key, KEPT_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.tell()
            except (RedisError, OSError) as error:
                log.warning("models not announced: %s", error)
            stop.wait(EVERY_SECONDS)
