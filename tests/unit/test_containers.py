"""The containers are what the documents promise of them."""

import importlib.util
import json

import pytest
import yaml

from tests.support.places import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def instructions(dockerfile):
    """Instructions with their lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def test_there_are_a_redis_an_api_and_a_worker():
    assert set(SERVICES) == {"redis", "api", "worker"}
    assert [file.stem for file in DOCKERFILES] == ["api", "worker"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_healthcheck_and_restarts(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_no_image_runs_as_root(dockerfile):
    users = [line for line in instructions(dockerfile) if line.startswith("USER ")]
    assert users == ["USER lig"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_what_an_image_runs_is_there(dockerfile):
    (command,) = [line for line in instructions(dockerfile) if line.startswith("CMD ")]
    python, option, module = json.loads(command.removeprefix("CMD "))
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


def test_redis_does_not_run_as_root():
    assert SERVICES["redis"]["user"] == "redis"


def test_redis_writes_a_log_and_never_evicts_a_job():
    command = SERVICES["redis"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "jobs:/data" in SERVICES["redis"]["volumes"]


def test_the_api_image_installs_nothing_that_needs_torch():
    (install,) = [line for line in instructions(ROOT / "docker" / "api.Dockerfile") if "pip install" in line]
    assert 'pip install ".[api]"' in install
    others = [part for part in install.split("pip install ")[1:] if not part.startswith('".[api]"')]
    assert all(part.startswith("--no-deps ") for part in others)
    assert "torch" not in install


def test_the_worker_image_takes_torch_from_the_chosen_index():
    lines = instructions(ROOT / "docker" / "worker.Dockerfile")
    assert 'ARG TORCH_PIP_OPTIONS=""' in lines
    assert 'RUN pip install ${TORCH_PIP_OPTIONS} "torch>=2.6"' in lines
    assert "TORCH_PIP_OPTIONS" in SERVICES["worker"]["build"]["args"]


def test_the_port_is_published_to_this_machine_alone():
    assert SERVICES["api"]["ports"] == ["127.0.0.1:${LIG_PORT:-8000}:8000"]
    assert not any("ports" in SERVICES[name] for name in ("redis", "worker"))


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_containers_variables_are_settings_that_exist(name, monkeypatch):
    import service.settings
    import worker.settings

    module = service.settings if name == "api" else worker.settings
    environment = SERVICES[name]["environment"]
    assert {variable.removeprefix("LIG_").lower() for variable in environment} <= module.Settings.model_fields.keys()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    assert module.Settings().redis_url.get_secret_value() == "redis://redis:6379/0"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_what_a_dockerfile_copies_is_not_ignored(name):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in instructions(ROOT / "docker" / f"{name}.Dockerfile") if "COPY" in line]
    assert {source for sources in copies for source in sources} == kept


def test_api_and_worker_agree_on_the_queue():
    import service.settings
    import worker.settings

    assert service.settings.Settings().queue == worker.settings.Settings().queue


@pytest.mark.parametrize("name", ["api", "worker"])
def test_what_comes_from_the_hub_is_kept_in_a_volume_that_the_user_may_write(name):
    cache = "/home/lig/.cache/huggingface"
    (made,) = [line for line in instructions(ROOT / "docker" / f"{name}.Dockerfile") if "useradd" in line]
    assert f"install -d -o lig {cache}" in made
    assert f"hub:{cache}" in SERVICES[name]["volumes"]
