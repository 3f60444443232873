"""The models that names lead to, and what is known of them, without reading their files for every request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from lig_core.errors import FieldError, ModelNotFound
from lig_core.models.catalog import ModelCard, ask_the_hub, read_card
from lig_core.models.checkpoint import require_loadable
from lig_core.models.identity import model_identity, stamp
from lig_core.models.references import COMMIT, ModelReference, resolve
from lig_core.models.tokenizer_files import most_tokens
from service.http.errors import ModelNotAllowed, NotReady
from service.settings import Settings
from service.submit.model_shape import Shape

FRESH_SECONDS = 1.0
"""The time within which it is noticed that a name leads elsewhere."""
HUB_SECONDS = 600.0
"""The time within which it is noticed that a branch on the hub moved."""
PATIENCE_SECONDS = 5.0
"""The time that a request waits for a folder's files to be read, which takes about a second a gigabyte, once."""
MOST_MODELS = 256


@dataclass(frozen=True)
class KnownModel:
    """The model of a name, and the identity of its content (`lig_core.models.identity`); None: not known."""

    reference: ModelReference
    name: str  # the one spelling of it
    card: ModelCard
    shape: Shape | None
    most_tokens: int | None
    identity: str | None
    stamp: tuple[object, ...]  # of a folder's files
    at: float  # by the monotonic clock

    @property
    def fresh(self) -> bool:
        """True if it may be taken to be still so; of a folder it is known at once that its files changed."""
        return time.monotonic() - self.at < FRESH_SECONDS and not self.changed

    @property
    def changed(self) -> bool:
        """True if a folder's files are others now."""
        return self.stamp != _stamp(self.card)


class KnownModels:
    """Finds models, and remembers for a moment what it found.

    held: the models that workers have without the hub, by name, with what identifies their content; empty where they
    have not read it yet. Asked where this process does not see a folder, or not its weights.
    """

    def __init__(self, settings: Settings, held: Callable[[], Mapping[str, str]] = dict) -> None:
        self._settings = settings
        self._held = held
        self._models: dict[str, KnownModel] = {}
        self._hub_times: dict[str, float] = {}
        self._reading: dict[str, Future[str | None]] = {}
        self._starting = threading.Lock()

    def find(self, name: str) -> KnownModel:
        """The model of this name, if it may be asked for.

        Raises InvalidRequest, ModelNotAllowed and ModelNotFound that point at `/model`, UnsupportedModel where its
        config rules it out, and NotReady where a folder's files are being read.
        """
        known = self._models.get(name)
        if known is not None and known.fresh:
            return known
        if known is not None and not known.changed:
            # One request looks again; those that come meanwhile take what was known.
            self._models[name] = replace(known, at=time.monotonic())
        try:
            found = self._look_up(name)
        except BaseException:
            self._models.pop(name, None)
            raise
        if len(self._models) >= MOST_MODELS:
            self._models = {}
        self._models[name] = found
        return found

    def _look_up(self, name: str) -> KnownModel:
        at, reference = time.monotonic(), self._resolve(name, "/model")
        card = self._requested(reference)
        require_loadable(card)
        return KnownModel(
            reference,
            str(reference),
            card,
            shape=Shape.of(card),
            most_tokens=most_tokens(card),
            identity=self._identity(card),
            stamp=_stamp(card),
            at=at,
        )

    def card(self, name: str, pointer: str) -> ModelCard:
        """The card of the model of this name as it is now, loadable or not; raises InvalidRequest, ModelNotAllowed,
        ModelNotFound."""
        return self._card(self._resolve(name, pointer))

    def _resolve(self, name: str, pointer: str) -> ModelReference:
        held, settings = self._held, self._settings
        reference = resolve(name, settings.models_folder, lambda folder: folder in held(), pointer=pointer)
        refuse_others(str(reference), settings.allowed_models, pointer)
        return reference

    def _requested(self, reference: ModelReference) -> ModelCard:
        try:
            return self._card(reference)
        except ModelNotFound as error:
            raise ModelNotFound(error.detail, errors=[FieldError("/model", error.detail)]) from error

    def _card(self, reference: ModelReference) -> ModelCard:
        if reference.kind == "hub":
            return self._hub_card(reference)
        try:
            return read_card(reference, self._settings.models_folder)
        except ModelNotFound:
            if reference.name not in self._held():
                raise
            return ModelCard(reference.name, "", None, {})

    def _hub_card(self, reference: ModelReference) -> ModelCard:
        """A branch is followed: what the cache has of it may be old."""
        card, name, now = read_card(reference), str(reference), time.monotonic()
        moves = reference.revision is None or COMMIT.fullmatch(reference.revision) is None
        due = moves and now - self._hub_times.get(name, -math.inf) > HUB_SECONDS
        if not self._settings.ask_hub or (card.config and not due):
            return card
        try:
            card = ask_the_hub(card)
        except ModelNotFound:  # or it cannot be reached now
            if not card.config:
                raise
        if len(self._hub_times) >= MOST_MODELS:
            self._hub_times = {}
        self._hub_times[name] = now
        return card

    def _identity(self, card: ModelCard) -> str | None:
        if card.is_hub:
            return model_identity(card)
        own = self._own_identity(card) if card.folder else None
        return own or self._held().get(card.name) or None

    def _own_identity(self, card: ModelCard) -> str | None:
        """Of several requests that come while a folder is read for the first time, all wait for the one reading."""
        if card.is_bundled:
            return model_identity(card)
        with self._starting:
            reading = self._reading.get(card.source)
            if reading is None:
                reading = self._reading[card.source] = Future()
                threading.Thread(target=self._read, args=(card, reading), daemon=True, name="model identity").start()
        try:
            return reading.result(PATIENCE_SECONDS)
        except TimeoutError:
            raise NotReady(
                f"the files of model '{card.name}' are new here and being read, about a second a gigabyte; send the "
                "request again in a moment",
                retry_after=PATIENCE_SECONDS,
            ) from None

    def _read(self, card: ModelCard, reading: Future[str | None]) -> None:
        try:
            reading.set_result(model_identity(card))
        except BaseException as error:
            reading.set_exception(error)
        finally:
            del self._reading[card.source]


def _stamp(card: ModelCard) -> tuple[object, ...]:
    if card.folder is None or card.is_bundled:
        return ()
    try:
        return stamp(card.folder)
    except OSError:  # it is not there any more
        return (None,)


def allowed(model: str, patterns: Sequence[str] | None) -> bool:
    """True if a model may be asked for: by its id or `id@revision`, against ids and patterns; None allows all.

    The model is that which a name was resolved to, never the name as it was sent.
    """
    names = {model, model.partition("@")[0]}
    return patterns is None or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def refuse_others(model: str, patterns: Sequence[str] | None, pointer: str) -> None:
    """Refuse a model that is not allowed here; raises ModelNotAllowed that points at `pointer`."""
    if not allowed(model, patterns):
        detail = f"'{model}' is not among the models allowed here: {', '.join(patterns or ()) or 'none is'}"
        raise ModelNotAllowed(detail, errors=[FieldError(pointer, detail)])
