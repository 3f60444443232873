"""Where webhooks may go."""

import pytest
from fastapi.testclient import TestClient
from standardwebhooks.webhooks import Webhook

from lig_core.serving.settings import lines
from service.app import create_app
from service.settings import Settings
from service.webhooks.policy import WebhookPolicy

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def policy(**settings):
    return WebhookPolicy(Settings(webhook_secret=SECRET, **settings))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/hook", "https only"),
        ("ftp://example.org/hook", "URL"),
        ("example.org/hook", "URL"),
        ("https:///hook", "URL"),
        ("https://example.org:99999/", "URL"),
        ("https://user:word@example.org/", "a user or a password"),
        ("https://127.0.0.1/", "private"),
        ("https://[::1]:8443/", "private"),
        ("https://10.1.2.3/", "private"),
        ("https://169.254.169.254/latest/meta-data", "private"),
        ("https://localhost/", "private"),
        ("https://hooks.localhost./", "private"),
        ("https://[fec0::1]/", "private"),
        ("https://[::7f00:1]/", "private"),
    ],
)
def test_a_url_that_webhooks_may_not_go_to_is_refused(url, said):
    assert said in policy().fault(url)


@pytest.mark.parametrize("url", ["https://example.org/hook?x=1", "https://EXAMPLE.org:8443/", "https://8.8.8.8/"])
def test_public_https_is_fine(url):
    assert policy().fault(url) is None


def test_hosts_that_are_named_may_be_private_and_plain():
    found = policy(webhook_allow=["hooks.internal", "127.0.0.1:9000", "*.lan"])
    for url in ("http://hooks.internal/", "http://127.0.0.1:9000/x", "http://a.lan:81/", "https://hooks.internal/"):
        assert found.fault(url) is None
    assert found.fault("http://127.0.0.1:9001/") is not None


def test_without_a_secret_a_webhook_is_refused_at_once(api, jobs):
    answer = api.post("/v1/explain", json={"text": "a", "model": "minilm", "webhook": "https://example.org/"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/webhook"
    assert "LIG_WEBHOOK_SECRET" in answer.json()["detail"]
    assert not jobs.submissions


def test_a_webhook_goes_with_the_job_and_not_with_the_request(jobs):
    with TestClient(create_app(Settings(webhook_secret=SECRET), jobs)) as api:
        body = {"model": "minilm", "webhook": "https://example.org/"}
        assert api.post("/v1/explain", json={"text": "a", **body}).status_code == 202
        batch = {"texts": ["a", "b"], "options": {"model": "minilm"}, "webhook": "https://example.org/"}
        assert api.post("/v1/explain/batch", json=batch).status_code == 202
    with_hook, *rest = jobs.submissions
    assert {submission.webhook for submission in jobs.submissions} == {"https://example.org/"}
    assert "webhook" not in with_hook.request.model_dump()
    assert with_hook.work_digest == rest[0].work_digest


def test_signatures_are_those_of_standard_webhooks():
    body = '{"type":"job.succeeded"}'
    headers = policy().headers("msg_1", body)
    assert Webhook(SECRET).verify(body, headers) == {"type": "job.succeeded"}


@pytest.mark.parametrize("secret", ["whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_"])
def test_a_secret_that_is_none_is_refused_with_how_to_make_one(secret):
    with pytest.raises(ValueError, match="openssl rand"):
        Settings(webhook_secret=secret)


def test_the_secret_is_masked():
    assert SECRET not in lines(Settings(webhook_secret=SECRET))
