"""The description of the API in the repository is the API's."""

import orjson
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from service.commands.openapi import document
from service.http.problems import STATUS
from tests.support.places import ROOT

FILE = ROOT / "openapi" / "openapi.json"


def test_the_document_in_the_repository_is_current():
    assert FILE.read_text() == document(), "run: python -m service.commands.openapi"


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


def test_every_request_and_every_answer_that_is_no_problem_has_an_example_that_fits():
    described = orjson.loads(document())
    shown = 0
    for path, method, operation in ((p, m, o) for p, ops in described["paths"].items() for m, o in ops.items()):
        contents = [("request", operation.get("requestBody", {}))]
        contents += [item for item in operation["responses"].items() if item[0] < "300"]
        for where, content in contents:
            found = content.get("content", {}).get("application/json")
            if found is None:
                continue
            schema = found["schema"]
            if "$ref" in schema:
                schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            examples = [example["value"] for example in found.get("examples", {}).values()]
            examples += [holder["example"] for holder in (found, schema) if "example" in holder]
            assert examples, (method, path, where)
            for example in examples:
                Draft202012Validator({**schema, "components": described["components"]}).validate(example)
                shown += 1
    assert shown > 15


def test_every_parameter_of_a_path_has_an_example():
    for path in orjson.loads(document())["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] != "path" or parameter["schema"].get("examples"), parameter["name"]


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
    import worker.take.lease_worker  # noqa: F401 - with its imports, defines the worker's errors
    from lig_core.errors import LigError

    kinds = [LigError, *subclasses(LigError)]
    ours = [kind for kind in kinds if kind.__module__.split(".")[0] in {"lig_core", "service", "worker"}]
    # What the client says by itself, no service answers.
    answered = [kind for kind in ours if not kind.__module__.startswith("lig_core.client")]
    assert {kind.code for kind in answered} == set(STATUS)
