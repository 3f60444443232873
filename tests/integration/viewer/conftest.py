"""The viewer's files in a real browser."""

import pytest
from playwright.sync_api import expect

from lig_core.result.arrays import Result
from lig_core.result.viewer.page import write_page

expect.set_options(timeout=60_000)  # what is drawn comes a moment after what was pressed, however long that moment is


@pytest.fixture
def open_file(new_context, tmp_path):
    """Opens the page of a result with the network off; afterwards nothing may have been loaded, logged or raised."""
    trouble = []

    def open_page(result: Result, view="", **options):
        file = tmp_path / "page.html"
        file.write_bytes(b"".join(write_page(result.head, result)))
        context = new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(f"{file.as_uri()}#{view}")
        page.locator("#viewer > *").first.wait_for()
        return page

    yield open_page
    assert [entry for entry in trouble if not entry.startswith(("file:", "data:", "blob:"))] == []
