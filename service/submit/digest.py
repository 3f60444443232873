"""The digest of a piece of work: of the request, by the one spelling of its model, and of this code's version.

That the model's content is the same as well is seen to where requests join a computation
(`lig_core.serving.queue`): it may become known only once a worker has read it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import version

import orjson

from lig_core.contract import ExplainRequest
from lig_core.models.references import ModelReference


def work_digest(request: ExplainRequest, reference: ModelReference) -> str:
    """Equal for requests that have equal results of the same files, as hexadecimal SHA-256."""
    described = {"request": request.canonical(), "model": reference.as_dict(), "code": code_version()}
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """The version of the code that is running."""
    return version("lig-service")
