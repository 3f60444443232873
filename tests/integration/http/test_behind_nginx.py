"""A real nginx in front, with path prefixes: one that takes its prefix off and says so, as the page for operators has
it, and one that leaves it."""

import random
import re
import string
from urllib.parse import urljoin

import httpx
import pytest

from lig_core.client import Client
from tests.running.waiting import wait_until
from tests.support.documents import Document
from tests.support.places import ROOT

BODY = {"text": "hello", "model": "minilm"}


(OPERATE,) = (block.source for block in Document(ROOT / "docs/operate.md").blocks("nginx"))
FORWARDED_FOR = "proxy_set_header X-Forwarded-For 203.0.113.9; }"
LOCATION = re.search(r" +location / \{.*?\}\n", (ROOT / "docker/nginx.conf").read_text(), re.DOTALL)[0]


def prefix_of(draw):
    return "".join(f"/{''.join(draw.choices(string.ascii_letters + string.digits + '_~@:+-', k=4))}" for _ in range(2))


@pytest.mark.slow
def test_clients_browsers_and_links_reach_the_service_through_it(nginx, start_api, start_worker):
    draw = random.Random(1)
    said, left = prefix_of(draw), prefix_of(draw)
    one, other = start_api(), start_api(LIG_ROOT_PATH=left)
    start_worker()
    locations = f"""
        proxy_http_version 1.1; proxy_set_header Connection "";
        {OPERATE.replace("/lig", said).replace("http://127.0.0.1:8000", one).replace("}", FORWARDED_FOR)}
        location "{left}/" {{ proxy_pass {other}; }}
    """
    address = nginx({"resolver RESOLVER valid=5s;": "", LOCATION: locations})
    for prefix in (said, left):
        base = address + prefix
        wait_until(lambda base=base: httpx.get(f"{base}/readyz").status_code == 200, 60)
        with Client(base) as client:
            assert client.explain("hello", model="minilm")["text"] == "hello"
            assert [job["status"] for job in client.jobs(limit=1)][:1] == ["succeeded"]
        with httpx.Client(timeout=60) as http:
            accepted = http.post(f"{base}/v1/explain", json=BODY, headers={"Cache-Control": "no-cache"})
            links = accepted.json()["links"]
            assert links["self"] == accepted.headers["Location"] == f"{prefix}/v1/jobs/{accepted.json()['id']}"
            shown = http.get(urljoin(str(accepted.url), accepted.headers["Location"]), params={"wait": 30}).json()
            assert shown["status"] == "succeeded"
            result = shown["links"]["result"]
            assert http.get(address + result).json()["text"] == "hello"
            assert f'"result":"{result}"' in http.get(address + links["events"]).text
            assert http.get(f"{base}/v1/jobs/nobody").json()["instance"] == f"{prefix}/v1/jobs/nobody"
            assert http.get(f"{base}/openapi.json").json()["servers"] == [{"url": prefix}]
            for page in ("/", "/docs", "/docs/assets/swagger-ui.css"):
                assert http.get(base + page).status_code == 200
            for detour, there in (
                (f"{base}/v1/jobs/", f"{base}/v1/jobs"),
                (f"{base}/docs/", f"{base}/docs"),
                (base, f"{base}/"),
            ):
                arrived = http.get(detour, follow_redirects=True)
                assert (arrived.status_code, str(arrived.url)) == (200, there)
