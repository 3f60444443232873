"""The service starts fast and small: it imports nothing numerical."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "service.app",
        "service.process.server",
        "service.process.supervisor",
        "service.commands.serve",
        "service.commands.top",
    ],
)
def test_importing_the_service_leaves_torch_and_the_worker_alone(module):
    script = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'worker'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_the_worker_s_command_leaves_torch_alone():
    script = "import sys, worker.cli; print(*sorted({'torch', 'transformers', 'service'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
