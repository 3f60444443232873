"""Where webhooks may go, and how they are signed (standardwebhooks.com)."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import httpx
from standardwebhooks.webhooks import Webhook

from lig_core.errors import FieldError, InvalidRequest
from service.settings import Settings
from service.webhooks.addresses import is_private

LAST_PORT = 65535


class WebhookPolicy:
    """Judges the URLs of webhooks, and signs what is sent to them."""

    def __init__(self, settings: Settings) -> None:
        secret, self._allowed = settings.webhook_secret, settings.webhook_allow or []
        self._signer = Webhook(secret.get_secret_value()) if secret else None

    @property
    def can_sign(self) -> bool:
        """True where there is a secret; without one nothing is sent."""
        return self._signer is not None

    def require(self, webhook: str) -> None:
        """Refuse a webhook that would not be told; raises InvalidRequest."""
        fault = self.fault(webhook)
        if fault is not None:
            raise InvalidRequest(f"webhook: {fault}", errors=[FieldError("/webhook", fault)])

    def fault(self, webhook: str) -> str | None:
        """The fault of a URL, as far as can be said without looking its host up; None: none."""
        if not self.can_sign:
            return "this service has no LIG_WEBHOOK_SECRET to sign webhooks with; leave it out and ask for the job"
        try:
            url = httpx.URL(webhook)
        except httpx.InvalidURL as error:
            return f"not a URL ({error}); send one such as https://example.org/hook"
        if url.scheme not in ("https", "http") or not url.host or (url.port or 1) > LAST_PORT:
            return "not the URL of a server; send one such as https://example.org/hook"
        if url.userinfo:
            return "a URL with a user or a password is not taken; webhooks are signed instead"
        return None if self.allows(url) else _public_fault(url)

    def allows(self, url: httpx.URL) -> bool:
        """True where the operator named this host, or this host and port: it may be private, and plain http."""
        port = url.port or (443 if url.scheme == "https" else 80)
        names = {url.host.lower(), f"{url.host.lower()}:{port}"}
        return any(fnmatchcase(name, pattern.lower()) for name in names for pattern in self._allowed)

    def headers(self, message_id: str, body: str) -> dict[str, str]:
        """The headers that let the receiver check where a message comes from, and how old it is."""
        assert self._signer is not None
        now = datetime.now(UTC)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message_id, now, body),
        }


def _public_fault(url: httpx.URL) -> str | None:
    if url.scheme != "https":
        return "webhooks go over https only, but for the hosts in LIG_WEBHOOK_ALLOW"
    name = url.host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or is_private(name):
        return f"{url.host} is a private address, and not among the hosts in LIG_WEBHOOK_ALLOW"
    return None
