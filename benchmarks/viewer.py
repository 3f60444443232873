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
from tests.running.served import REAL, Serve

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
LIVE = (
    ("The cat sat down.", ["layer"]),
    ("The trophy did not fit into the suitcase because it was too large. " * 3, ["layer", "att", "mlp", "composed"]),
)
"""Texts and maps of jobs that are watched as they are computed."""
NOTE_EVENT_AND_DRAWING = """
const plain = window.fetch;
window.fetch = async (...call) => {
  const answer = await plain(...call);
  if (!String(call[0]).includes('/events?')) return answer;
  const decoder = new TextDecoder();
  const noting = new TransformStream({ transform(chunk, out) {
    if (decoder.decode(chunk, { stream: true }).includes('event: layer')) window.came ??= performance.now();
    out.enqueue(chunk);
  } });
  return new Response(answer.body.pipeThrough(noting), answer);
};
const look = () => {
  if (document.querySelector('.strip canvas')) window.drawn ??= performance.now();
  if (!window.drawn) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


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


def measure_live(browser: Any, url: str, text: str, maps: list[str]) -> list[str]:
    """One line of the second table."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(600_000)
    page.add_init_script(NOTE_EVENT_AND_DRAWING)
    page.goto(url)
    page.fill("#text", text)
    page.click(".ask summary")
    for name in maps[1:]:
        page.check(f"[name=maps][value={name}]")
    start = time.perf_counter()
    page.click("#explain")
    page.get_by_text("Done", exact=True).wait_for()
    whole = time.perf_counter() - start
    tokens = page.locator(".sentence button").count()
    seconds = page.evaluate("window.drawn - window.came") / 1000
    page.close()
    return [str(tokens), ", ".join(maps), f"{seconds:.2f} s", f"{whole:.1f} s"]


def table(heads: list[str], lines: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *lines])


def main() -> None:
    """Measure every size and write the table."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"])
        lines = [measure(browser, *size, Path(folder)) for size in SIZES]
        service = Serve(REAL, Path(folder)).wait_until_ready()
        live = [measure_live(browser, service.url, *job) for job in LIVE]
        service.end()
        browser.close()
    files = table(["tokens × layers", "file", "opened, all drawn", "layer switched", "hover, frames/s", "nodes"], lines)
    jobs = table(["tokens", "maps", "first layer's event to its map on the page", "all of the job"], live)
    about = (
        "One file each, in headless Chromium without a GPU, at 1366 × 768, written by `make bench-viewer`. "
        "What else ran on the machine is in the figures; in parentheses stands the processor's time of the page's "
        "thread alone."
    )
    beside = "Jobs of `minilm` as they are computed, on the same two processors as the page that watches them."
    FILE.write_text(f"# The viewer\n\n{about}\n\n{files}\n\n{beside}\n\n{jobs}\n", encoding="utf-8")
    print(f"{files}\n\n{jobs}")


if __name__ == "__main__":
    main()
