"""W3C Trace Context, by the examples and the rules of its specification."""

import pytest

from service.http.tracing import parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_valid_header_is_continued_by_a_span_of_its_own(api):
    answered = api.get("/livez", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}).headers["traceparent"]
    version, trace, span, flags = answered.split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN
    assert parse(answered) is not None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
    ],
)
def test_an_invalid_header_starts_a_trace_of_its_own(api, header):
    assert parse(header) is None
    answered = parse(api.get("/livez", headers={"traceparent": header}).headers["traceparent"])
    assert answered is not None
    assert answered.trace_id != TRACE
    assert not answered.sampled


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert str(parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-holds")) == f"00-{TRACE}-{SPAN}-01"


def test_two_headers_are_none(api):
    headers = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("traceparent", f"00-{TRACE}-{SPAN}-00")]
    assert TRACE not in api.get("/livez", headers=headers).headers["traceparent"]


def test_handlers_can_pass_it_on(api):
    from starlette.requests import Request

    @api.app.get("/probe")
    def probe(request: Request) -> str:
        return request.state.traceparent

    answer = api.get("/probe", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert answer.json() == answer.headers["traceparent"]
