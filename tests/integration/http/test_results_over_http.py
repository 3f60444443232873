"""Results of API processes: formats, slices, memory, and what happens when a part is lost on the way."""

import io
import json

import httpx
import numpy as np
import orjson
import pytest
from safetensors.numpy import load

from lig_core.result.arrays import MAPS, LayerArrays, Result
from lig_core.result.formats import FORMATS, write_json
from lig_core.result.read import from_document
from lig_core.result.select import Selection, select
from lig_core.serving.queue import names
from service.keys.keyring import ANONYMOUS
from tests.running.processes import peak_of
from tests.running.waiting import PATIENCE
from tests.support.closeness import assert_close
from tests.support.made_results import made_head, made_layer, made_result

TOKENS, HEADS, DIMENSIONS, LAYERS = 200, 12, 384, 6
MEDIA_TYPES = [form.media_type for form in FORMATS.values()]


@pytest.fixture
def finished(by_hand):
    """Makes a job with a result; returns its path."""
    b = by_hand()

    def finish(result):
        job = b.send_one(ANONYMOUS.name)
        b.finish_with(b.start(), result)
        return f"/v1/jobs/{job.id}"

    return finish


@pytest.fixture
def large(finished):
    """A result of 200 tokens, all maps and 6 layers: its path, and the JSON of its largest layer in bytes."""
    everything = tuple(range(TOKENS)), tuple(range(HEADS))
    size, layers = 0, []
    for index in range(LAYERS):
        layer = made_layer(index, targets=everything[0], heads=everything[1], sources=TOKENS, dimensions=DIMENSIONS)
        layers.append(layer)
        size = max(size, len(b"".join(write_json(made_head(tokens=TOKENS), [layer]))))
    return finished(Result.of(made_head(tokens=TOKENS), layers)), size


def stored(result):
    """The result as it is after it was stored."""
    return Result.of(result.head, [LayerArrays.from_bytes(layer.to_bytes()) for layer in result])


def test_every_format_is_what_the_library_writes(api, finished):
    result = stored(made_result())
    path = finished(result)
    for form in FORMATS.values():
        answer = api.get(f"{path}/result", headers={"Accept": form.media_type})
        assert answer.headers["content-type"] == form.media_type
        assert answer.content == b"".join(form.write(result.head, result))


def test_the_numbers_are_the_same_bit_for_bit_in_all_formats(api, finished):
    path = finished(made_result())

    def get(media_type):
        return api.get(f"{path}/result", headers={"Accept": media_type}).content

    document, lines = json.loads(get("application/json")), get("application/x-ndjson").splitlines()
    assert {str(line["layer"]): line["maps"] for line in map(json.loads, lines[1:-1])} == document["layers"]
    arrays, tensors = np.load(io.BytesIO(get("application/x-npz"))), load(get("application/vnd.safetensors"))
    for name, tensor in tensors.items():
        assert arrays[name].tobytes() == tensor.tobytes()
        assert arrays[name].dtype == tensor.dtype
    for index, layer in document["layers"].items():
        written = np.array(layer["z2z"]["matrix"], np.float32)
        assert written.tobytes() == tensors[f"layers.{index}.z2z"].tobytes()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(
    "part",
    [
        {"layers": "2"},
        {"targets": "1,3"},
        {"heads": "0,3"},
        {"maps": "layer,att"},
        {"top_k": "2"},
        {"layers": "0,2", "targets": "4", "heads": "1", "maps": "att,mlp", "top_k": "1"},
    ],
    ids=str,
)
def test_a_slice_is_the_slice_of_the_whole(api, finished, media_type, part):
    result = stored(made_result())
    path = finished(result)
    answer = api.get(f"{path}/result", params=part, headers={"Accept": media_type})
    cut = select(result, Selection.parse(**part))
    (form,) = (form for form in FORMATS.values() if form.media_type == media_type)
    assert answer.content == b"".join(form.write(cut.head, cut))


@pytest.mark.slow
def test_a_large_result_streams_the_same_numbers_in_all_formats_within_twice_its_largest_layer(
    start_api_process, large
):
    (address, process), (path, largest) = start_api_process(), large
    tall, whole = {}, {}
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for media_type in MEDIA_TYPES:  # once for what the first request loads
            client.get(f"{path}/result", params={"targets": "0", "top_k": "1"}, headers={"Accept": media_type})
        before = peak_of(process, reset=True)
        for media_type in MEDIA_TYPES:
            for coding in ("identity", "gzip", "zstd"):
                peak_of(process, reset=True)
                headers = {"Accept": media_type, "Accept-Encoding": coding}
                with client.stream("GET", f"{path}/result", headers=headers) as answer:
                    assert answer.status_code == 200
                    sent = b"".join(answer.iter_raw())
                tall[media_type, coding] = peak_of(process) - before
                print(f"{media_type} {coding}: {len(sent)} bytes, +{tall[media_type, coding]} of {largest} a layer")
                if coding == "identity":
                    whole[media_type] = sent
    assert largest > 7e6
    assert all(rise < 2 * largest for rise in tall.values()), tall
    document, lines = json.loads(whole["application/json"]), whole["application/x-ndjson"].splitlines()
    assert {str(line["layer"]): line["maps"] for line in map(json.loads, lines[1:-1])} == document["layers"]
    arrays, tensors = np.load(io.BytesIO(whole["application/x-npz"])), load(whole["application/vnd.safetensors"])
    told = {f"layers.{layer.index}.{name}": layer[name] for layer in from_document(document)[1] for name in MAPS}
    assert len(told) == LAYERS * len(MAPS)
    for name, written in told.items():
        assert written.tobytes() == tensors[name].tobytes() == arrays[name].tobytes(), name


def test_a_result_that_is_lost_on_the_way_breaks_the_connection(start_api_process, large, redis):
    (address, _), (path, _) = start_api_process(), large
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        with client.stream("GET", f"{path}/result", headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.status_code == 200
            redis.delete(*redis.keys(names.key("blob", "lig", "*:layer:5")))
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in answer.iter_raw():
                    pass
        redis.delete(*redis.keys(names.key("blob", "lig", "*:layer:0")))
        gone = client.get(f"{path}/result")
        assert (gone.status_code, gone.json()["code"]) == (410, "result_expired")


def test_two_results_are_compared(api, finished):
    a, b = finished(made_result()), finished(made_result(seed=1))
    ids = {"a": a.rpartition("/")[2], "b": b.rpartition("/")[2]}
    found = api.get("/v1/diff", params={**ids, "layers": "2", "maps": "layer", "top_k": "3"}).json()
    assert list(found["layers"]) == ["2"] and list(found["layers"]["2"]) == ["z2z"]
    one, other = (made_layer(2, seed=seed)["z2z"].astype(float) for seed in (0, 1))
    difference = np.array(found["layers"]["2"]["z2z"]["difference"], float)
    assert_close(difference, other - one, 1e-6)
    assert len(found["layers"]["2"]["z2z"]["top"]) == 3
    other_text = finished(Result.of(made_head(tokens=5), [made_layer()])).rpartition("/")[2]
    refused = api.get("/v1/diff", params={"a": ids["a"], "b": other_text})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_comparable")


def test_small_results_are_embedded_whole(api, finished):
    path = finished(made_result())
    shown = api.get(path)
    assert shown.json()["result"] == api.get(f"{path}/result").json()
    assert shown.json()["links"]["cancel"] is None
    assert shown.headers["server-timing"].startswith("queue;dur=")
    assert "compute;dur=1000.0" in shown.headers["server-timing"]


def test_pages_of_jobs_cover_all_of_them_once(api, by_hand):
    b = by_hand()
    ids = [b.send_one(ANONYMOUS.name).id for _ in range(5)]
    b.send_one("somebody else")
    seen, url = [], "/v1/jobs?limit=2"
    while url:
        answer = api.get(url)
        seen += [job["id"] for job in answer.json()["jobs"]]
        url = answer.links["next"]["url"] if "next" in answer.links else None
        assert (url is None) == (answer.json()["next"] is None)
    assert seen == ids[::-1]
    next_page = api.get("/v1/jobs?limit=2&status=queued").links["next"]["url"]
    assert [job["id"] for job in api.get(next_page).json()["jobs"]] == ids[1:3][::-1]
    assert "status=queued" in next_page
    assert orjson.loads(api.get("/v1/jobs?group=none").content) == {"jobs": [], "next": None}
