"""The result route over jobs carried out by hand: negotiation, tags, compression, refusals."""

import gzip
import json

import numpy as np
import pytest
import zstandard
from starlette.datastructures import Headers

from lig_core.errors import NotConverged
from lig_core.result.arrays import Result
from lig_core.result.formats import write_json
from lig_core.serving.queue import names
from service.http.errors import NotAcceptable
from service.http.negotiation import RESULT_FORMATS, negotiate
from tests.support.made_results import made_head, made_layer

LAYERS = (made_layer(0), made_layer(2))
DOCUMENT = b"".join(write_json(made_head(), Result.of(made_head(), LAYERS)))


@pytest.fixture
def path(api, jobs):
    job = api.post("/v1/explain", json={"text": "The cat sat.", "model": "minilm"}).json()
    jobs.finish(job["id"], made_head(), LAYERS)
    return f"/v1/jobs/{job['id']}/result"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json;q=0.5, application/x-npz", "application/x-npz"),
        ("application/json;q=0, */*;q=0.1", "application/x-ndjson"),
        ("image/png, application/vnd.safetensors;q=0.1", "application/vnd.safetensors"),
    ],
)
def test_the_format_is_the_one_liked_best(accept, chosen):
    assert negotiate(Headers({"accept": accept} if accept else {})).format.media_type == chosen


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "nonsense"])
def test_no_format_that_is_accepted_is_406_and_names_those_there_are(api, path, accept):
    with pytest.raises(NotAcceptable):
        negotiate(Headers({"accept": accept}))
    answer = api.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert all(media_type in answer.json()["detail"] for media_type in RESULT_FORMATS)


@pytest.mark.parametrize(
    ("accept", "accept_encoding", "coding"),
    [
        ("*/*", None, "identity"),
        ("*/*", "gzip, deflate, br, zstd", "zstd"),
        ("*/*", "gzip", "gzip"),
        ("*/*", "zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("*/*", "gzip;q=0", "identity"),
        ("*/*", "br", "identity"),
        ("application/x-npz", "gzip, zstd", "identity"),
    ],
)
def test_the_coding_is_the_one_liked_best_and_numbers_stay_as_they_are(accept, accept_encoding, coding):
    headers = {"accept": accept, **({"accept-encoding": accept_encoding} if accept_encoding else {})}
    assert negotiate(Headers(headers)).coding == coding


@pytest.mark.parametrize(
    ("coding", "decode"),
    [("gzip", gzip.decompress), ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data))],
)
def test_a_compressed_result_is_the_same_result(api, path, coding, decode):
    with api.stream("GET", path, headers={"Accept-Encoding": coding}) as answer:
        assert answer.headers["content-encoding"] == coding
        assert decode(b"".join(answer.iter_raw())) == DOCUMENT


def test_a_result_that_is_there_already_is_not_sent_again(api, jobs, redis, path):
    answer = api.get(path)
    tag = answer.headers["etag"]
    assert answer.content == DOCUMENT
    redis.delete(*redis.keys(names.key("blob", jobs.queue, "*")))  # nothing is read for a 304
    again = api.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["vary"] == "Accept, Accept-Encoding"
    assert api.get(path, headers={"If-None-Match": "*"}).status_code == 304


def test_tags_tell_formats_codings_slices_and_jobs_apart(api, jobs, path):
    tags = [
        api.get(path, params=params, headers=headers).headers["etag"]
        for params in ({}, {"layers": "0"}, {"top_k": "1"})
        for headers in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}, {"Accept": "application/x-npz"})
    ]
    other = api.post("/v1/explain", json={"text": "Another.", "model": "minilm"}).json()["id"]
    jobs.finish(other, made_head(), LAYERS)
    tags.append(api.get(f"/v1/jobs/{other}/result", headers={"Accept-Encoding": "identity"}).headers["etag"])
    assert len(set(tags)) == len(tags)


def test_files_have_names_and_pages_have_a_policy(api, path):
    job_id = path.split("/")[3]
    named = api.get(path, headers={"Accept": "application/x-npz"}).headers["content-disposition"]
    assert named == f'attachment; filename="lig-{job_id}.npz"'
    page = api.get(path, headers={"Accept": "text/html"})
    assert "content-disposition" not in page.headers
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    embedded = page.text.partition('<script type="application/json" id="results">')[2].partition("</script>")[0]
    assert json.loads(embedded)["results"][0]["head"] == json.loads(json.dumps(made_head()))


def test_layers_of_a_running_job_are_there_once_they_are_done(api, jobs):
    job = api.post("/v1/explain", json={"text": "The dog sat.", "model": "minilm"}).json()["id"]
    run = jobs.start(job)
    jobs.by_hand.add_part(run, "head", json.dumps(made_head()).encode())
    jobs.by_hand.add_arrays(run, made_layer(0))
    found = api.get(f"/v1/jobs/{job}/result?layers=0&maps=layer")
    assert (found.status_code, list(found.json()["layers"])) == (200, ["0"])
    for query in ("", "?layers=0,2"):
        refused = api.get(f"/v1/jobs/{job}/result{query}")
        assert (refused.status_code, refused.json()["code"]) == (409, "job_not_finished")
        assert "?layers=: 0" in refused.json()["detail"]


def test_two_results_are_a_page_too(api, path):
    job = path.split("/")[3]
    page = api.get(f"/v1/diff?a={job}&b={job}", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    embedded = page.text.partition('<script type="application/json" id="results">')[2].partition("</script>")[0]
    assert len(json.loads(embedded)["results"]) == 2
    assert api.get(f"/v1/diff?a={job}&b={job}", headers={"Accept": "image/png"}).status_code == 406
    found = api.get(f"/v1/diff?a={job}&b={job}&composed=product&difference=false&layers=2").json()["layers"]["2"]
    assert list(found) == ["z2z"]
    assert "difference" not in found["z2z"] or found["z2z"]["difference"] is None


def test_an_unknown_model_is_pointed_at(api):
    answer = api.post("/v1/explain", json={"text": "cat", "model": "no/such-model"})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/model"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("layers=1", "layers"),
        ("targets=9", "targets"),
        ("heads=2", "heads"),
        ("maps=all", "maps"),
        ("top_k=0", "top_k"),
    ],
)
def test_what_the_result_does_not_hold_is_422_before_anything_is_sent(api, path, query, pointer):
    answer = api.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/query/{pointer}"]


def test_a_slice_has_only_what_was_asked_for(api, path):
    found = api.get(f"{path}?layers=2&maps=layer&targets=1").json()
    assert list(found["layers"]) == ["2"]
    matrix = np.array(found["layers"]["2"]["z2z"]["matrix"], float)
    assert np.isnan(np.delete(matrix, 1, axis=1)).all()
    assert not np.isnan(matrix[:, 1]).any()
    assert "targets" not in found["layers"]["2"]


def test_there_is_no_result_of_an_unfinished_or_a_failed_job(api, jobs):
    job_id = api.post("/v1/explain", json={"text": "The cat sat.", "model": "minilm"}).json()["id"]
    path = f"/v1/jobs/{job_id}/result"
    assert api.get(path).json()["code"] == "job_not_finished"
    assert api.get(path, headers={"If-None-Match": "*"}).status_code == 409
    diff = api.get("/v1/diff", params={"a": job_id, "b": job_id})
    assert (diff.status_code, diff.json()["code"]) == (409, "job_not_finished")
    jobs.fail(job_id, NotConverged("raise rtol"))
    assert api.get(path).json()["code"] == "job_has_no_result"
