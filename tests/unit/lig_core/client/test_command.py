"""`lig explain --server`: computed elsewhere, the same command."""

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from lig_core import cli
from lig_core.client import Client
from lig_core.result.formats import FORMATS
from tests.support.made_results import made_head, made_layer
from tests.unit.lig_core.client.answers import event, job, ok, problem, stream

DONE = event(9, "succeeded", '{"converged":true,"result":"/v1/jobs/j/result"}')


@pytest.fixture
def lig(monkeypatch, asked):
    """Runs the command against a service that answers with these."""

    def run(*arguments, answers=(), interrupt=False):
        left = list(answers)

        def answer(request):
            asked.append(request)
            if interrupt and request.url.path.endswith("/events"):
                raise KeyboardInterrupt
            return left.pop(0)

        def connect(url, **options):
            return Client(url, transport=httpx.MockTransport(answer), **options)

        monkeypatch.setattr("lig_core.client.Client", connect)
        command = ["explain", "hi", "--model", "minilm", "--server", "http://service", *arguments]
        return CliRunner().invoke(cli.app, command)

    return run


QUEUED, ENDED = ok(job("queued"), 202), ok(job("succeeded", 2))


def lines(*layers):
    content = b"".join(FORMATS["ndjson"].write(made_head(), list(layers)))
    return httpx.Response(200, content=content, headers={"Content-Type": "application/x-ndjson"})


def test_the_result_goes_to_standard_output_or_a_file_and_is_read_layer_by_layer(lig, asked, tmp_path, monkeypatch):
    layers, file = [made_layer(0, labels=True), made_layer(11, targets=(1, 3))], tmp_path / "x.json"
    expected = orjson.loads(b"".join(FORMATS["json"].write(made_head(), layers)))
    sizes, loads = [], orjson.loads
    monkeypatch.setattr(orjson, "loads", lambda text: (sizes.append(len(text)), loads(text))[1])
    done = lig("--api-key", "mine", answers=[QUEUED, stream(DONE), ENDED, lines(*layers)])
    written = orjson.dumps(expected, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    assert (done.exit_code, done.stdout_bytes) == (0, written)
    assert max(sizes) < 0.8 * len(orjson.dumps(expected))
    assert {request.headers["authorization"] for request in asked} == {"Bearer mine"}
    done = lig("-o", str(file), answers=[QUEUED, stream(DONE), ENDED, lines(*layers)])
    assert (done.exit_code, done.stderr) == (0, f"lig: wrote {file}: {len(written):,} bytes, 2 layers\n")
    assert file.read_bytes() == written


def test_the_key_may_be_in_the_environment(lig, asked, monkeypatch):
    monkeypatch.setenv("LIG_API_KEY", "theirs")
    assert lig(answers=[QUEUED, stream(DONE), ENDED, lines()]).exit_code == 0
    assert asked[0].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize(
    ("ending", "media_type"),
    [
        (".npz", "application/x-npz"),
        (".safetensors", "application/vnd.safetensors"),
        (".ndjson", "application/x-ndjson"),
    ],
)
def test_the_ending_of_the_file_is_the_format_that_is_fetched(lig, asked, tmp_path, ending, media_type):
    file = tmp_path / f"x{ending}"
    content = b"".join(FORMATS[ending[1:]].write(made_head(), [made_layer(0), made_layer(1)]))
    whole = httpx.Response(200, content=content, headers={"Content-Type": media_type})
    done = lig("-o", str(file), answers=[QUEUED, stream(DONE), ENDED, whole])
    assert (done.exit_code, done.stderr) == (0, f"lig: wrote {file}: {len(content):,} bytes, 2 layers\n")
    assert file.read_bytes() == content
    assert asked[-1].headers["accept"] == media_type


def test_ctrl_c_cancels_the_job_and_says_so(lig, asked):
    done = lig(answers=[QUEUED, ok(job("cancelled"), 202)], interrupt=True)
    assert (done.exit_code, done.stderr) == (130, "lig: cancelled job j\n")
    assert asked[-1].url.path == "/v1/jobs/j/cancel"


def test_ctrl_c_too_late_says_so(lig):
    done = lig(answers=[QUEUED, problem(409, "job_ended")], interrupt=True)
    assert (done.exit_code, done.stderr) == (130, "lig: job j was not cancelled: no\n")


def test_a_refusal_is_one_line(lig):
    refused = lig(answers=[problem(401, "no_key")])
    assert (refused.exit_code, refused.stderr) == (2, "lig: no\n")
