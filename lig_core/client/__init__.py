"""A client of the LIG service, for threads and for asyncio or trio; both do the same.

    with Client("http://127.0.0.1:8000") as client:
        result = client.explain("The cat sat on the mat.", model="minilm")

    async with AsyncClient("http://127.0.0.1:8000") as client:
        async for event in client.events(job_id):
            ...

What the service refuses or fails at is raised as ServiceError, with the service's problem document; silence as
ServiceUnreachable. Lost connections, 429 and 503 are tried again first, and no job is queued twice by that.
What is sent, how answers are read, when to try again and where to resume is in modules without input or output;
`sync` and `aio` only send.
"""

from lig_core.client.aio import AsyncClient
from lig_core.client.answers import ServiceUnreachable, require_success
from lig_core.client.events import Event
from lig_core.client.shapes import Batch, Format, Job, ModelSummary, Slice
from lig_core.client.sync import Client

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "Event",
    "Format",
    "Job",
    "ModelSummary",
    "ServiceUnreachable",
    "Slice",
    "require_success",
]
