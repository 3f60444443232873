"""The description of the API in the repository is the API's."""

from pathlib import Path

import orjson
from openapi_spec_validator import validate

from service.openapi import document
from service.problems import STATUS

FILE = Path(__file__).parents[3] / "openapi" / "openapi.json"


def test_the_document_in_the_repository_is_current():
    assert FILE.read_text() == document(), "run: python -m service.openapi"


def test_the_document_is_valid_openapi():
    validate(orjson.loads(document()))


def test_every_error_a_route_documents_is_a_problem():
    paths = orjson.loads(document())["paths"]
    answers = [
        answer
        for path in paths.values()
        for operation in path.values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert len(answers) > 10
    assert all(list(answer["content"]) == ["application/problem+json"] for answer in answers)


def test_a_job_that_was_accepted_is_linked_to_all_that_can_be_done_with_it():
    paths = orjson.loads(document())["paths"]
    links = paths["/v1/explain"]["post"]["responses"]["202"]["links"]
    assert {"read_job", "read_result", "cancel_job", "delete_job"} <= links.keys()
    assert links["read_job"]["parameters"] == {"job_id": "$response.body#/id"}


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_code_has_a_status_and_every_status_a_code():
    import worker.queue_worker  # noqa: F401 - with its imports, defines the worker's errors
    from lig_core.errors import LigError

    kinds = [LigError, *subclasses(LigError)]
    ours = [kind for kind in kinds if kind.__module__.split(".")[0] in {"lig_core", "service", "worker"}]
    # What the client says by itself, no service answers.
    answered = [kind for kind in ours if not kind.__module__.startswith("lig_core.client")]
    assert {kind.code for kind in answered} == set(STATUS)
