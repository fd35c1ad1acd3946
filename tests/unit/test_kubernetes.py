"""The Kubernetes manifests hold together: their settings, commands, probes, limits and rights are those of the code."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from aiohttp import web
from dotenv import dotenv_values
from lookup.routes import add_routes

from orderflow.start.settings import parse_settings, variables
from tests.support.commands import resolve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", "1.37"
SECRETS = {"ADMIN_TOKEN", "KAFKA_SASL_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
KUSTOMIZE, KEDA = "kustomize.config.k8s.io/", "keda.sh/"

Manifest = dict[str, Any]


def manifests(folder: str) -> list[Manifest]:
    return [
        found
        for path in sorted((FOLDER / folder).glob("*.yaml"))
        for found in yaml.safe_load_all(path.read_text())
        if not found["apiVersion"].startswith(KUSTOMIZE)
    ]


BASE = manifests("base")
DEPLOYMENTS = {found["metadata"]["name"]: found for found in BASE if found["kind"] == "Deployment"}
PODS = {name: found["spec"]["template"]["spec"] for name, found in DEPLOYMENTS.items()}
CONTAINERS = [
    pytest.param(container, id=container["name"])
    for pod in PODS.values()
    for container in (*pod.get("initContainers", []), *pod["containers"])
]
SETTINGS = {name: value or "" for name, value in dotenv_values(FOLDER / "base" / "settings.env").items()}


def rendered(folder: str) -> list[Manifest]:
    """Return what kustomize makes of a folder. Skips the test if there is neither kubectl nor kustomize."""
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    elif kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    else:
        pytest.skip("left out: this needs kubectl or kustomize")
    ended = subprocess.run([*command, str(FOLDER / folder)], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def validate(found: Manifest, version: str) -> None:
    if not found["apiVersion"].startswith(KEDA):  # its schema is not one of Kubernetes
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_manifest_keeps_to_the_schemas_of_kubernetes(version: str) -> None:
    """Also to those of an old version, and without a field that the schemas do not know."""
    for found in [*BASE, *manifests("keda")]:
        validate(found, version)


@pytest.mark.parametrize("folder", ["base", "example"])
def test_kustomize_renders_it(folder: str) -> None:
    """The result is valid, too, and every name that a manifest refers to exists, except the Secret."""
    found = rendered(folder)
    for one in found:
        validate(one, NEWEST)
    [settings] = [one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap"]
    pods = [one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"]
    for pod in pods:
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert container["envFrom"] == [
                {"configMapRef": {"name": settings}},
                {"secretRef": {"name": "orderflow-secrets"}},
            ]


def test_the_example_leaves_the_number_of_engines_to_keda() -> None:
    """Or every `kubectl apply` would undo what KEDA has decided."""
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in rendered("example")}
    assert "replicas" not in by_name["Deployment", "orderflow-engine"]["spec"]
    scaled = by_name["ScaledObject", "orderflow-engine"]["spec"]
    [trigger] = scaled["triggers"]
    defaults = parse_settings({})
    assert trigger["metadata"]["consumerGroup"] == defaults.kafka_group_id
    assert trigger["metadata"]["topic"] == defaults.kafka_topic
    assert scaled["maxReplicaCount"] * int(SETTINGS["WORKERS"]) == defaults.kafka_partitions


def test_the_settings_are_settings_and_none_is_a_secret() -> None:
    """A misspelt name would be ignored without a word; passwords and tokens are in the Secret."""
    assert set(SETTINGS) <= set(variables())
    assert set(SETTINGS).isdisjoint(SECRETS)
    assert set(variables()) >= SECRETS
    settings = parse_settings(SETTINGS)
    assert (str(settings.http_address), settings.postgres_host) == (":8080", "postgres")


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_command_exists(container: Manifest) -> None:
    """Each container runs a command of orderflow, in the same image."""
    resolve(container["command"])
    assert container["image"] == "orderflow:local"


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_have_few_rights_and_bounded_memory(container: Manifest) -> None:
    """No root, no capabilities, no writable image, and no limit of processor time, which would stall a heartbeat."""
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    assert {"memory"} == set(container["resources"]["limits"])


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_rights_and_no_foreign_variables(name: str) -> None:
    """A Service named postgres would set POSTGRES_PORT to a URL; the user is that of the image."""
    pod = PODS[name]
    assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", PODS)
def test_a_drain_is_not_cut_off(name: str) -> None:
    """Kubernetes kills later than our own deadline, with the wait before the stop."""
    [container] = PODS[name]["containers"]
    waits_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in container else 0
    assert PODS[name]["terminationGracePeriodSeconds"] > parse_settings({}).shutdown_timeout_s + waits_s


def test_probes_ask_what_is_served() -> None:
    """At a path and a port of ours; the start may take as long as it waits for its services."""
    [container] = PODS["orderflow-http"]["containers"]
    application = web.Application()
    add_routes(application)
    served = {resource.canonical for resource in application.router.resources()}
    [port] = container["ports"]
    assert port["containerPort"] == parse_settings(SETTINGS).http_address.port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in served
        assert asked["port"] == port["name"]
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] > parse_settings({}).start_timeout_s


def test_what_selects_pods_selects_ours() -> None:
    """Deployments, the Service, budgets and network policies name labels that a pod has."""
    labels = [found["spec"]["template"]["metadata"]["labels"] for found in DEPLOYMENTS.values()]
    selectors = {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
    }
    for found in BASE:
        assert selectors[found["kind"]](found["spec"]) in labels


@pytest.mark.parametrize("name", PODS)
def test_the_network_policy_lets_the_stores_through(name: str) -> None:
    """Their ports are those of the settings."""
    settings = parse_settings(SETTINGS)
    [policy] = [f for f in BASE if f["kind"] == "NetworkPolicy" and f["metadata"]["name"] == name]
    [rule] = policy["spec"]["egress"]
    ports = {each["port"] for each in rule["ports"] if each["protocol"] == "TCP"}
    kafka = {int(broker.rpartition(":")[2]) for broker in settings.kafka_bootstrap}
    assert ports == {53, settings.postgres_port, settings.redis_address.port, *kafka}
