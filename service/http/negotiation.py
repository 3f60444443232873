"""The form that a result is sent in: format, coding, and whether the caller has it already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_etags

from lig_core.result.formats import FORMATS, Format, Layers
from lig_core.result.viewer.page import write_page
from service.http.errors import NotAcceptable
from service.http.streaming import gzipped, zstandard_compressed

Coding = Callable[[Iterable[bytes]], Iterator[bytes]]


HTML = Format("text/html", ".html", write_page)
RESULT_FORMATS: Mapping[str, Format] = {form.media_type: form for form in (*FORMATS.values(), HTML)}
"""By media type, the default first."""
TEXT = {"application/json", "application/x-ndjson", "text/html"}
"""The media types that compression is worth its time for: float32 hardly becomes smaller."""
CODINGS: Mapping[str, Coding | None] = {"zstd": zstandard_compressed, "gzip": gzipped, "identity": None}
"""By name, the better first."""


@dataclass(frozen=True)
class Form:
    """The format and the coding that a result is sent in."""

    format: Format
    coding: str

    def write(self, head: Mapping[str, Any], layers: Layers) -> Iterator[bytes]:
        """The body in this form, part by part."""
        parts, encode = self.format.write(head, layers), CODINGS[self.coding]
        return parts if encode is None else encode(parts)

    def etag(self, *content: object) -> str:
        """A strong one: `content`, in this form, is these bytes."""
        described = repr((*content, self.format.media_type, self.coding))
        return f'"{hashlib.sha256(described.encode()).hexdigest()[:32]}"'


def media_type(headers: Headers, offered: Collection[str]) -> str:
    """The one of these media types that a request likes best, JSON where it does not say; raises NotAcceptable."""
    accepted = headers.get("accept")
    best = parse_accept_header(accepted, MIMEAccept).best_match(offered) if accepted else "application/json"
    if best is None:
        raise NotAcceptable(f"there is no '{accepted}'; accept one of {', '.join(offered)}")
    return best


def negotiate(headers: Headers) -> Form:
    """The form that a request likes best; raises NotAcceptable."""
    best = media_type(headers, RESULT_FORMATS)
    codings = parse_accept_header(headers.get("accept-encoding"))
    coding = max(CODINGS, key=codings.quality) if best in TEXT else "identity"
    return Form(RESULT_FORMATS[best], coding if codings.quality(coding) > 0 else "identity")


def has_it(headers: Headers, etag: str) -> bool:
    """True if the caller holds what the tag stands for."""
    tags = parse_etags(headers.get("if-none-match"))
    return tags.contains_weak(etag.strip('"'))
