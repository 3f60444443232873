"""The Kubernetes manifests of docker/deploy, as objects."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.places import ROOT

FOLDER = ROOT / "docker/deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    """All that the kustomization names, in its order."""
    return [each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / name).read_text())]


def named(kind: str) -> dict[str, dict[str, Any]]:
    """Those of one kind, by their names."""
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    """The specification of a Deployment's pods."""
    return deployment["spec"]["template"]["spec"]


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    """The one container of its pods."""
    (only,) = pod(deployment)["containers"]
    return only
