"""Measures the viewer in Chromium, on this machine: `python -m benchmarks.viewer` writes benchmarks/viewer.md."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

from lig_core.result.viewer.page import write_page
from tests.integration.viewer.drawn_maps import drawn_result
from tests.programs import find_browser

FILE = Path(__file__).with_suffix(".md")
SIZES = ((41, 6), (200, 6), (512, 12))
"""Tokens and layers."""
SWITCHES, MOVES = 12, 120

SWITCH = """async (layer) => {
  const start = performance.now();
  const buttons = [...document.querySelectorAll('.strip button')];
  buttons[layer % buttons.length].click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""
HOVER = """async (moves) => {
  const map = document.getElementById('map'), box = map.getBoundingClientRect(), start = performance.now();
  for (let k = 0; k < moves; k++) {
    const clientX = box.left + 100 + (k * 37) % (box.width - 110);
    const clientY = box.top + 100 + (k * 53) % (box.height - 110);
    map.dispatchEvent(new PointerEvent('pointermove', { clientX, clientY, bubbles: true }));
    await new Promise(requestAnimationFrame);
  }
  return 1000 * moves / (performance.now() - start);
}"""


def measure(browser: Any, tokens: int, layers: int, folder: Path) -> list[str]:
    """One line of the table."""
    result = drawn_result(tokens, layers=layers)
    file = folder / f"{tokens}.html"
    file.write_bytes(b"".join(write_page(result.head, result)))
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        """Seconds of processor that the page's thread took so far."""
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    before, start = busy(), time.perf_counter()
    page.goto(f"{file.as_uri()}#pin=3")
    page.locator("#cells[data-end]").wait_for(state="attached")
    opened, opening = time.perf_counter() - start, busy() - before
    page.evaluate(SWITCH, 0)
    before = busy()
    switches = [page.evaluate(SWITCH, k) for k in range(SWITCHES)]
    switching = (busy() - before) / SWITCHES
    before = busy()
    frames = page.evaluate(HOVER, MOVES)
    hovering = (busy() - before) / MOVES
    nodes = page.evaluate("document.getElementsByTagName('*').length")
    page.close()
    return [
        f"{tokens} × {layers}",
        f"{file.stat().st_size / 1e6:.2f} MB",
        f"{opened:.2f} s ({opening:.2f} s)",
        f"{median(switches):.0f} ms ({1000 * switching:.0f} ms)",
        f"{frames:.0f} ({1000 * hovering:.1f} ms a frame)",
        str(nodes),
    ]


def main() -> None:
    """Measure every size and write the table."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"])
        lines = [measure(browser, *size, Path(folder)) for size in SIZES]
        browser.close()
    heads = ["tokens × layers", "file", "opened, all drawn", "layer switched", "hover, frames/s", "nodes"]
    table = [heads, ["---"] * len(heads), *lines]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in table)
    about = (
        "One file each, in headless Chromium without a GPU, at 1366 × 768, written by `make bench-viewer`. "
        "What else ran on the machine is in the figures; in parentheses stands the processor's time of the page's "
        "thread alone."
    )
    FILE.write_text(f"# The viewer\n\n{about}\n\n{rows}\n", encoding="utf-8")
    print(rows)


if __name__ == "__main__":
    main()
