"""What docker/deploy gives to operators fits the service: names, ports, settings, probes, times, series."""

import configparser
import importlib.util
import json
import re
import subprocess
import sys

import pytest
import yaml

from generate.metrics import exported
from lig_core.serving.settings import SECRETS
from service.process.server import GRACE_SECONDS, LAST_SECONDS, THREADS_SECONDS
from service.settings import Settings
from tests import programs
from tests.support.manifests import KUSTOMIZATION, container, manifests, named, pod
from tests.support.places import ROOT
from tests.support.promql import Selector, grouping, selectors
from worker.settings import Settings as WorkerSettings

DEPLOY = ROOT / "docker/deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DEPLOYMENTS = named("Deployment")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
RULE_TESTS = yaml.safe_load((DEPLOY / "prometheus/rules_test.yml").read_text())["tests"]
DASHBOARD = json.loads((DEPLOY / "grafana/lig.json").read_text())
PANELS = DASHBOARD["panels"]
SCALER = named("ScaledObject")["lig-worker"]
SETTINGS = {"lig-api": Settings, "lig-worker": WorkerSettings}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
OF_PROMETHEUS = {"job", "instance"}
MEBIBYTE = 1 << 20


def environment(name):
    return {variable["name"]: variable["value"] for variable in container(DEPLOYMENTS[name]).get("env", ())}


def image_of(name):
    return (ROOT / "docker" / f"{name.removeprefix('lig-')}.Dockerfile").read_text()


def memory_limit(name):
    text = container(DEPLOYMENTS[name])["resources"]["limits"]["memory"]
    return int(text[:-2]) * {"Mi": MEBIBYTE, "Gi": 1024 * MEBIBYTE}[text[-2:]]


def threshold(alert):
    (bound,) = re.findall(r"> ([\d.e]+)", ALERTS[alert]["expr"])
    return float(bound)


# Series


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("absent(lig_up)", [Selector("lig_up")]),
        ("a_total > 8e6 and on (job, instance) b", [Selector("a_total"), Selector("b")]),
        ("sum by (le) (rate(c[5m])) / max(d) * 60", [Selector("c"), Selector("d")]),
        ('max(increase(e{x="1",y=~"2"}[10m])) == 0', [Selector("e", (("x", "1"), ("y", "2")))]),
        ("rate(f[$__rate_interval]) or f offset 5m", [Selector("f"), Selector("f")]),
    ],
)
def test_the_series_of_an_expression(expression, expected):
    assert selectors(expression) == expected


def expressions():
    yield from ((f"alert {name}", rule["expr"]) for name, rule in ALERTS.items())
    yield from ((f"panel {panel['title']}", target["expr"]) for panel in PANELS for target in panel["targets"])
    yield from (("scaler", trigger["metadata"]["query"]) for trigger in SCALER["spec"]["triggers"])


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_series_that_is_named_is_exported_with_these_labels(place, expression):
    samples = [sample for metric in exported() for sample in metric.samples]
    found = selectors(expression)
    assert found, "it names no series"
    labels = set(OF_PROMETHEUS)
    for selector in found:
        of_name = [sample for sample in samples if sample.name == selector.name]
        assert of_name, selector.name
        labels.update(label for sample in of_name for label in sample.labels)
        for label, value in selector.matched:
            values = {sample.labels[label] for sample in of_name}
            assert len(values) == 1 or value in values, f"{selector.name} has no {label}={value}"
    assert grouping(expression) <= labels


@pytest.mark.parametrize("series", sorted({line["series"] for test in RULE_TESTS for line in test["input_series"]}))
def test_the_rules_are_tested_with_series_that_are_exported(series):
    (selector,) = selectors(series)
    of_name = [sample for metric in exported() for sample in metric.samples if sample.name == selector.name]
    assert of_name
    assert {label for label, _ in selector.matched} <= {*OF_PROMETHEUS, *of_name[0].labels}


# Prometheus and Grafana


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_is_tested_both_ways(name):
    assert ALERTS[name]["labels"]["severity"] in {"critical", "warning"}
    tested = [check for test in RULE_TESTS for check in test["alert_rule_test"] if check["alertname"] == name]
    assert sorted(bool(check["exp_alerts"]) for check in tested) == [False, True]
    assert f"| `{name}` |" in (ROOT / "docs/deploy.md").read_text()


def test_alerts_of_memory_come_before_the_limits():
    assert threshold("LigApiMemory") < memory_limit("lig-api")
    assert threshold("LigWorkerMemory") < memory_limit("lig-worker")


def test_every_panel_stands_by_itself_and_asks_the_chosen_source():
    (source,) = DASHBOARD["templating"]["list"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {f"${{{source['name']}}}"}
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    cells = [(at["x"] + x, at["y"] + y) for at in places for x in range(at["w"]) for y in range(at["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


# Kubernetes


def test_images_are_those_that_are_built_here():
    images = {name: container(each)["image"] for name, each in DEPLOYMENTS.items()}
    assert images == {
        "redis": COMPOSE["redis"]["image"],
        "lig-api": COMPOSE["api"]["image"],
        "lig-worker": COMPOSE["worker"]["image"],
    }
    assert {image["name"] for image in KUSTOMIZATION["images"]} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_variables_are_settings_that_exist_and_can_be_read(name, monkeypatch):
    settings, variables = SETTINGS[name], environment(name)
    assert {variable.removeprefix("LIG_").lower() for variable in variables} <= settings.model_fields.keys()
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    settings()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_pod_may_more_than_it_needs(name):
    user = pod(DEPLOYMENTS[name])["securityContext"]
    assert user["runAsNonRoot"] and (user["runAsUser"], user["runAsGroup"]) == (10001, 10001)
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(DEPLOYMENTS[name])["automountServiceAccountToken"] is False
    assert container(DEPLOYMENTS[name])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    if name in SETTINGS:
        assert f"\nUSER {user['runAsUser']}:{user['runAsGroup']}\n" in image_of(name)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_secrets_are_files_where_settings_are_read_and_every_volume_is_used(name):
    volumes = {volume["name"]: volume for volume in pod(DEPLOYMENTS[name])["volumes"]}
    mounts = {mount["name"]: mount for mount in container(DEPLOYMENTS[name])["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert volumes["secrets"]["secret"] == {"secretName": "lig"}
    assert (mounts["secrets"]["mountPath"], mounts["secrets"]["readOnly"]) == (SECRETS[0], True)
    if name in SETTINGS:
        assert f"install -d -o lig -g lig {mounts['hub']['mountPath']}" in image_of(name)
    file = environment(name).get("LIG_KEYS_FILE") if name in SETTINGS else None
    assert file is None or file.startswith(f"{SECRETS[0]}/")


def test_the_trial_redis_is_compose_s():
    command = container(DEPLOYMENTS["redis"])["command"]
    ours, theirs = command[-1].replace(" --dir /data", ""), COMPOSE["redis"]["command"][-1]
    assert (command[:-1], ours) == (COMPOSE["redis"]["command"][:-1], theirs)


@pytest.mark.parametrize("name", SETTINGS)
def test_probes_ask_what_answers(name):
    only = container(DEPLOYMENTS[name])
    routes = json.loads((ROOT / "openapi/openapi.json").read_text())["paths"]
    asked = {kind: only[kind] for kind in PROBES if kind in only}
    if name == "lig-api":
        paths = {kind: probe["httpGet"]["path"] for kind, probe in asked.items()}
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        assert set(paths.values()) <= routes.keys()
        assert {probe["httpGet"]["port"] for probe in asked.values()} == {only["ports"][0]["name"]}
    else:
        assert set(asked) == {"readinessProbe"}, "a worker mends itself, and waits for a Redis that is away"
        assert asked["readinessProbe"]["exec"]["command"] == COMPOSE["worker"]["healthcheck"]["test"][1:]


def test_ports_are_those_that_are_listened_on():
    (port,) = container(DEPLOYMENTS["lig-api"])["ports"]
    assert port["containerPort"] == Settings().port
    assert f"\nEXPOSE {port['containerPort']}\n" in image_of("lig-api")
    for name, service in named("Service").items():
        (own,) = container(DEPLOYMENTS[name])["ports"]
        assert [each["targetPort"] for each in service["spec"]["ports"]] == [own["name"]]
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["dns_sd_configs"][0]["port"] == Settings().port


@pytest.mark.parametrize("each", manifests(), ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_what_a_manifest_refers_to_is_there(each):
    spec = each["spec"]
    if target := spec.get("scaleTargetRef"):
        assert target["name"] in DEPLOYMENTS
        assert "replicas" not in DEPLOYMENTS[target["name"]]["spec"], "two would say how many there are"
    selector = spec.get("selector", {})
    if labels := selector.get("matchLabels", selector):
        matched = [
            name
            for name, deployment in DEPLOYMENTS.items()
            if labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert matched == [each["metadata"]["name"]]


def test_the_last_worker_stays():
    assert SCALER["spec"]["minReplicaCount"] >= 1


def test_a_worker_s_models_take_half_of_its_memory():
    assert 2 * int(environment("lig-worker")["LIG_MODEL_BUDGET"]) == memory_limit("lig-worker")


def drains(drain_delay, drain_grace):
    """The least seconds that an API and a worker take to stop."""
    return float(drain_delay) + LAST_SECONDS + GRACE_SECONDS + THREADS_SECONDS, float(drain_grace)


def test_pods_have_the_time_that_their_processes_take_to_stop():
    needed = drains(environment("lig-api")["LIG_DRAIN_DELAY"], environment("lig-worker")["LIG_DRAIN_GRACE"])
    for name, seconds in zip(SETTINGS, needed, strict=True):
        assert pod(DEPLOYMENTS[name])["terminationGracePeriodSeconds"] > seconds


# systemd


def unit(path):
    """Its section [Service]; of what is given several times, all."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(path)
    variables = re.findall(r"^Environment=(.*)$", path.read_text(), re.MULTILINE)
    pairs = [part.strip("'") for line in variables for part in re.findall(r"'[^']*'|\S+", line)]
    return parser["Service"], dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_what_is_there_with_settings_that_exist(path, monkeypatch):
    section, variables = unit(path)
    settings = WorkerSettings if "worker" in path.name else Settings
    interpreter, option, module = section["ExecStart"].split()
    assert (interpreter, option) == ("/opt/lig/bin/python", "-m")
    assert importlib.util.find_spec(module) is not None
    own = {name: value for name, value in variables.items() if name.startswith("LIG_")}
    assert {*own, section["LoadCredential"].split(":")[0].upper()} <= {
        f"LIG_{n.upper()}" for n in settings.model_fields
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings()
    assert variables["HF_HOME"] == f"%C/{section['CacheDirectory']}"


def test_units_have_the_time_that_their_processes_take_to_stop():
    (api, of_api), (worker, of_worker) = map(unit, UNITS)
    for_api, for_worker = drains(of_api["LIG_DRAIN_DELAY"], of_worker["LIG_DRAIN_GRACE"])
    assert int(api["TimeoutStopSec"]) > for_api and int(worker["TimeoutStopSec"]) > for_worker


def test_systemd_understands_the_units(tmp_path):
    analyze = programs.require("systemd-analyze")
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/lig/bin/python", sys.executable))
    command = [analyze, "verify", *(str(tmp_path / path.name) for path in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not [line for line in done.stderr.splitlines() if str(tmp_path) in line], (
        done.stderr
    )
