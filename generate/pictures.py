"""Takes the documents' pictures of the viewer, from results that are computed: `python -m generate.pictures`.

Needs Chromium (`make programs`). The decoder's pictures need the model `smollm2`, or `--decoder` with a folder of it;
without, they are left as they are, and it is said so.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

from lig_core import explain
from lig_core.errors import ModelNotFound
from lig_core.result.viewer.page import render_page
from tests.programs import find_browser

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
ENCODER, DECODER = "minilm", "smollm2"
PRONOUN = "The trophy did not fit into the brown suitcase because it was too large."
CABINETS = (
    "The key to the cabinets in the old house is on the table. The key to the cabinets in the old house is on the table"
)
WIDTH, HEIGHT = 1280, 720


@dataclass(frozen=True)
class Picture:
    """A text of a model, and what of it is looked at, as the page's address has it."""

    name: str
    model: str
    text: str
    view: str


PICTURES = (
    Picture("pronoun", ENCODER, PRONOUN, "pin=11&layer=4&special=1&share=1"),
    Picture("subject", DECODER, CABINETS, "pin=23&layer=9&special=1&share=1&path=3"),
    Picture("induction", DECODER, CABINETS, "pin=20&layer=22&special=1&share=1&path=3"),
)


def main() -> None:
    """Take every picture whose model is here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder", default=DECODER, help="a name or a folder")
    models = {ENCODER: ENCODER, DECODER: parser.parse_args().decoder}
    pages: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        for picture in PICTURES:
            work = (picture.model, picture.text)
            try:
                if work not in pages:
                    result = explain(picture.text, model=models[picture.model], granularity="layer", labels=False)
                    pages[work] = render_page(result)
            except ModelNotFound as error:
                print(f"{picture.name}.png is left as it is: {error.detail}")
                continue
            file = Path(folder) / f"{picture.name}.html"
            file.write_text(pages[work], encoding="utf-8")
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(f"{file.as_uri()}#{picture.view}")
            page.locator("#flow .edge").first.wait_for(state="attached")
            page.locator(".views").screenshot(path=FOLDER / f"{picture.name}.png")
            print(f"wrote docs/figures/{picture.name}.png")
        browser.close()


if __name__ == "__main__":
    main()
