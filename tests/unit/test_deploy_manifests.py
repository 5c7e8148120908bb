"""Kubernetes and compose files agree with the program: settings, ports, paths, users, deadlines."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from archon_agent import openapi
from core.assembly.watching import watched_repositories
from core.consumer import Limits
from core.events.topics import CONSUMER_GROUP, REQUEST_TOPICS
from core.log.kafka.setup import specs
from core.settings.model import Settings, load, options

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
KEDA = DEPLOY / "kubernetes" / "keda"
WATCH = DEPLOY / "kubernetes" / "watch"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OF_OTHERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
KUBERNETES = "1.32"


def listed(directory: Path) -> list[dict[str, Any]]:
    """The manifests that a kustomization lists, in order."""
    names = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    files = [directory / name for name in names if (directory / name).is_file()]
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


MANIFESTS = {document["kind"]: document for document in [*listed(BASE), *listed(KEDA)]}
WATCHING = {document["kind"]: document for document in listed(WATCH)}
POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
AGENT = POD["containers"][0]


def variables() -> dict[str, str]:
    """Every environment variable that a setting is read from, to its dotted key."""
    return {name: item.key for item in options() for name in item.env}


def settings_of(environment: dict[str, str]) -> Settings:
    return load({}, environ=environment).settings


def test_every_file_is_listed() -> None:
    for directory in (BASE, KEDA, WATCH):
        names = set(yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"])
        assert {file.name for file in directory.glob("*.yaml")} - {"kustomization.yaml"} == {
            name for name in names if name.endswith(".yaml")
        }


@pytest.mark.parametrize(
    "document",
    [*listed(BASE), *listed(WATCH)],
    ids=lambda document: f"{document['kind']} {document['metadata']['name']}",
)
def test_manifests_are_valid_kubernetes(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        assert set(document["spec"]) <= {"jobLabel", "selector", "endpoints", "namespaceSelector"}
        return
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("directory", [BASE, KEDA, WATCH], ids=lambda path: path.name)
def test_kustomize_builds_it(directory: Path) -> None:
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    deployment = built["Deployment"]["spec"]
    assert ("replicas" in deployment) == (directory != KEDA)
    image = deployment["template"]["spec"]["containers"][0]["image"]
    assert image == built["Job"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert not image.endswith(":latest")
    # The job's pod must not be taken for an agent by the service.
    job_labels = built["Job"]["spec"]["template"]["metadata"]["labels"]
    assert built["Service"]["spec"]["selector"].items() - job_labels.items()


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    yield "kubernetes", MANIFESTS["ConfigMap"]["data"]
    yield "compose", COMPOSE["services"]["agent"]["environment"]
    yield "image", dict(re.findall(r"^\s+(?:ENV )?(ARCHON_\w+)=(\S+?)(?: \\)?$", DOCKERFILE, re.MULTILINE))


@pytest.mark.parametrize(("where", "environment"), environments())
def test_variables_are_settings_with_values_that_load(where: str, environment: dict[str, str]) -> None:
    assert environment
    assert environment.keys() - OF_OTHERS <= variables().keys(), where
    settings_of(environment)


def test_the_grace_time_fits_into_the_pods() -> None:
    settings = settings_of(MANIFESTS["ConfigMap"]["data"])
    needed = settings.agent.grace + Limits().revoke_s
    assert needed < POD["terminationGracePeriodSeconds"]
    assert needed < int(COMPOSE["services"]["agent"]["stop_grace_period"].removesuffix("s"))


def test_caches_fit_into_the_state_volume() -> None:
    settings = settings_of(MANIFESTS["ConfigMap"]["data"])
    (volume,) = (each for each in POD["volumes"] if "emptyDir" in each)
    room = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi"))
    assert settings.cache.max_size_gb + settings.git.clone_cache_max_size_gb < 0.9 * room
    assert {"name": volume["name"], "mountPath": "/var/lib/archon"} in AGENT["volumeMounts"]
    assert "ARCHON_HOME=/var/lib/archon" in DOCKERFILE


def test_probes_ask_what_the_agent_serves() -> None:
    port = int(settings_of({"ARCHON_HTTP": "0.0.0.0:9464"}).http.host_and_port[1])
    assert AGENT["ports"] == [{"name": "http", "containerPort": port}]
    assert f"ARCHON_HTTP=0.0.0.0:{port}" in DOCKERFILE
    paths = {
        probe: AGENT[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert set(paths.values()) <= openapi.ROUTES.keys()
    # A check may take its whole deadline before /ready answers.
    assert AGENT["readinessProbe"]["timeoutSeconds"] > settings_of({}).health.check_deadline
    assert MANIFESTS["ServiceMonitor"]["spec"]["endpoints"][0]["path"] in openapi.ROUTES


@pytest.mark.parametrize("kind", ["Deployment", "Job", "StatefulSet"])
def test_pods_are_restricted(kind: str) -> None:
    """Pod Security Standards, restricted (kubernetes.io/docs/concepts/security/pod-security-standards)."""
    pod = (MANIFESTS | WATCHING)[kind]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in DOCKERFILE
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_the_watcher_runs_with_the_settings_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "archon.toml"
    file.write_text(WATCHING["ConfigMap"]["data"]["archon.toml"])
    environment = MANIFESTS["ConfigMap"]["data"]
    settings = load({}, environ=environment, config_file=file).settings
    (shop,) = watched_repositories(settings)
    assert shop.credential_ref in settings.git.credentials["git.example.com"].refs
    spec = WATCHING["StatefulSet"]["spec"]
    pod = spec["template"]["spec"]
    (watch,) = pod["containers"]
    assert spec["replicas"] == 1
    assert watch["args"] == ["watch", "--config", "/etc/archon/archon.toml"]
    assert {mount["mountPath"] for mount in watch["volumeMounts"]} == {"/var/lib/archon", "/etc/archon"}
    assert settings.agent.grace < pod["terminationGracePeriodSeconds"]
    assert watch["ports"] == AGENT["ports"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert watch[probe] == AGENT[probe]
    labels = spec["template"]["metadata"]["labels"]
    for name in ("Service", "NetworkPolicy", "ServiceMonitor"):
        selector = WATCHING[name]["spec"].get("selector") or WATCHING[name]["spec"]["podSelector"]
        assert selector.get("matchLabels", selector) == labels


def test_agents_may_fetch_what_the_watcher_publishes() -> None:
    def table(text: str) -> object:
        return tomllib.loads(text)["git"]["credentials"]

    (git,) = (each for each in listed(BASE) if each["metadata"]["name"] == "archon-git")
    assert table(git["data"]["archon.toml"]) == table(WATCHING["ConfigMap"]["data"]["archon.toml"])
    mounted = {volume["name"]: volume.get("configMap", {}).get("name") for volume in POD["volumes"]}
    (mount,) = (each for each in AGENT["volumeMounts"] if mounted[each["name"]] == "archon-git")
    assert AGENT["args"] == ["run", "--config", f"{mount['mountPath']}/archon.toml"]


def test_keda_scales_by_the_lag_of_our_group_and_not_beyond_the_partitions() -> None:
    spec = MANIFESTS["ScaledObject"]["spec"]
    triggers = [trigger["metadata"] for trigger in spec["triggers"]]
    assert {trigger["topic"] for trigger in triggers} == set(REQUEST_TOPICS)
    assert {trigger["consumerGroup"] for trigger in triggers} == {CONSUMER_GROUP}
    kafka = settings_of(MANIFESTS["ConfigMap"]["data"]).kafka
    assert {trigger["bootstrapServers"] for trigger in triggers} == set(kafka.servers)
    assert spec["maxReplicaCount"] <= max(topic.partitions for topic in specs(kafka, REQUEST_TOPICS))
    assert spec["scaleTargetRef"]["name"] == MANIFESTS["Deployment"]["metadata"]["name"]


def test_compose_has_no_password_of_its_own_and_listens_on_this_machine_only() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    for name, value in re.findall(r"^\s+(\w*(?:PASSWORD|SECRET|KMS)\w*): (.*)$", text, re.MULTILINE):
        assert "${" in value, name
        assert ":?" in value, f"{name} may be empty"
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_compose_waits_for_what_is_healthy() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert services[name]["restart"] == "on-failure"
    agent = services["agent"]
    assert agent["deploy"]["replicas"] == 2
    assert (agent["read_only"], agent["cap_drop"]) == (True, ["ALL"])
    images = [service["image"] for service in services.values()]
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_compose_mounts_what_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source, named, _ = volume.partition(":")
            if not named:
                continue  # an anonymous volume
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


def test_starting_makes_passwords_that_only_the_owner_can_read(tmp_path: Path) -> None:
    (tmp_path / "up").write_text((DEPLOY / "up").read_text())
    (tools := tmp_path / "bin").mkdir()
    (tools / "docker").write_text("#!/bin/sh\nexit 0\n")
    for script in (tmp_path / "up", tools / "docker"):
        script.chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([tmp_path / "up"], env=environment, check=True, capture_output=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert made.keys() == wanted
    assert all(len(value) >= 24 for value in made.values())


def test_hadolint_is_content() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint comes with the development dependencies"
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
