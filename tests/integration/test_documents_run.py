"""Every command and every snippet of the documents, run in order against one real service."""

import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import programs
from tests.running.waiting import PATIENCE
from tests.support.documents import PAGES, SEPARATOR, SHELLS, Document, in_one_shell, prints, script, steps

DOCUMENTS = [Document(path) for path in PAGES]
WITH_SHELL = [document for document in DOCUMENTS if document.runnable(*SHELLS)]
WITH_PYTHON = [document for document in DOCUMENTS if document.runnable("python")]
SERVICE_PORT, GUARDED_PORT, RECEIVER_PORT = 8000, 8001, 9000
"""As the documents have them; the test takes free ones."""
ENVIRONMENT = {
    "LIG_WEBHOOK_SECRET": "whsec_bm90IGEgc2VjcmV0LCBidXQgYW4gZXhhbXBsZQ==",  # the documents' example
    "LIG_WEBHOOK_ALLOW": '["127.0.0.1"]',
    "LIG_LOG_LEVEL": "warning",
}
ONE_AFTER_ANOTHER = f"""
import runpy, sys, traceback
for page in sys.argv[1:]:
    print("{SEPARATOR}")
    try:
        runpy.run_path(page)
    except BaseException:
        traceback.print_exc()
"""


@dataclass
class Site:
    """Where the snippets are run: in the folder from which the service was started, with ports for those written."""

    folder: Path
    ports: dict[int, int]

    def here(self, text):
        """What a document says, with the ports of this test."""
        return re.sub(r":(\d+)\b|\b(8001|9000)\b", self._replaced, text)

    def _replaced(self, found):
        written = int(found[1] or found[2])
        return found[0].replace(str(written), str(self.ports.get(written, written)))

    def run(self, *command):
        """The exit code of one program and what it printed, on both channels; nothing that it started outlives it."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        try:
            return process.communicate(timeout=2 * PATIENCE)[0], process.returncode
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running `lig serve`."""
    folder = tmp_path_factory.mktemp("docs")
    process = subprocess.Popen(
        [sys.executable, "-m", "lig_core.cli", "serve", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("LIG service ready at http://127.0.0.1:")
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as too:
            ports = {RECEIVER_PORT: free.getsockname()[1], GUARDED_PORT: too.getsockname()[1]}
        yield Site(folder, {SERVICE_PORT: int(line.split()[4].rpartition(":")[2]), **ports})
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("document", WITH_SHELL, ids=lambda document: document.name)
def test_every_command_does_what_the_page_says(document, site):
    programs.require("curl")
    programs.require("jq")
    todo = [step for block in document.runnable(*SHELLS) for step in steps(block)]
    (site.folder / "page.sh").write_text(site.here(in_one_shell(todo)))
    output, code = site.run("bash", "page.sh")
    done = output.split(SEPARATOR)[1:]
    for step, printed in zip(todo, done, strict=False):
        expected = step.output is None or prints(site.here(step.output), printed)
        assert expected, f"{step.place}\n{step.commands}printed\n{printed}"
    assert (code, len(done)) == (0, len(todo)), f"{todo[len(done) - 1].place} failed" if done else output


@pytest.fixture(scope="module")
def printed_by_python(site):
    """What each page's snippets printed: one namespace a page, in one process, for torch takes long to import."""
    pages = {}
    for document in WITH_PYTHON:
        source, _ = script(document.runnable("python"))
        pages[document.name] = site.folder / f"{Path(document.name).name}.py"
        pages[document.name].write_text(site.here(source))
    output, _ = site.run(sys.executable, "-u", "-c", ONE_AFTER_ANOTHER, *pages.values())
    return dict(zip(pages, output.split(SEPARATOR)[1:], strict=True))


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda document: document.name)
def test_every_python_snippet_does_what_the_page_says(document, printed_by_python):
    _, expected = script(document.runnable("python"))
    printed = printed_by_python[document.name]
    assert prints(expected, printed), f"expected\n{expected}\nand it printed\n{printed}"
