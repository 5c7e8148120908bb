"""What the manifests of base and watch mount is enough: a private repository over HTTPS ends as records."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme
import yaml

from core.events.topics import FILE_INTELLIGENCE
from core.log.kafka import KafkaLog
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer
from tests.servers.kafka import GROUP, Broker

pytestmark = pytest.mark.xdist_group(GROUP)

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
TOKEN = "canary-of-the-manifests"


def documents(directory: str) -> Iterator[dict[str, Any]]:
    names = yaml.safe_load((DEPLOY / directory / "kustomization.yaml").read_text())["resources"]
    for name in names:
        if (DEPLOY / directory / name).is_file():
            yield from yaml.safe_load_all((DEPLOY / directory / name).read_text())


def config_maps() -> dict[str, dict[str, str]]:
    found = [*documents("base"), *documents("watch")]
    return {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}


def workload(directory: str, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod and its only container."""
    (one,) = (each for each in documents(directory) if each["kind"] == kind)
    pod = one["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


class Pod:
    """A container of the manifests as a process: its environment, its mounted files, its arguments."""

    def __init__(self, root: Path, pod: dict[str, Any], container: dict[str, Any], changes: Any) -> None:
        maps = config_maps()
        self.environment = {"PATH": os.environ["PATH"], "ARCHON_HOME": str(root / "home")}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                self.environment |= maps[source["configMapRef"]["name"]]
            else:
                self.environment["GIT_TOKEN"] = TOKEN
                self.environment["HOOK_SECRET"] = "hook"
        volumes = {each["name"]: each for each in pod.get("volumes", ())}
        self.arguments = list(container["args"])
        for mount in container["volumeMounts"]:
            name = volumes.get(mount["name"], {}).get("configMap", {}).get("name")
            if not name:
                continue
            there = root / mount["mountPath"].strip("/")
            there.mkdir(parents=True)
            for file, text in maps[name].items():
                (there / file).write_text(changes(text))
            self.arguments = [each.replace(mount["mountPath"], str(there)) for each in self.arguments]

    def run(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archon_agent", *self.arguments, *more]
        given = self.environment | environment
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.slow
async def test_a_private_repository_ends_as_records(kafka: Broker, tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "served" / "team").mkdir(parents=True)
    BareRepository(tmp_path / "served" / "team" / "shop.git").commit({"a.py": b"x = 1\n", "b.py": b"y = 2\n"})
    with GitHttpServer(tmp_path / "served", tokens={"team": TOKEN}, certificate=tls) as server:
        host = server.base.partition("://")[2]

        def changed(text: str) -> str:
            return text.replace("git.example.com", host)

        project = f"shop-{uuid4().hex[:6]}"
        here = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
            "ARCHON_KAFKA_PARTITIONS": "1",
            "ARCHON_CREATE_TOPICS": "true",
            "CONTENT_STORAGE_PROVIDER": "none",
            "ARCHON_GIT_CA_FILE": str(tmp_path / "ca.pem"),
            "ARCHON_GIT_NETWORKS": "127.0.0.0/8",
            "ARCHON_TOPICS": "dev.archon-intelligence.tree.index-project-requested.v2",
            "ARCHON_GROUP": f"group-{uuid4().hex}",
        }
        pod, container = workload("watch", "StatefulSet")
        named = f'project_name = "{project}"\n'
        watcher = Pod(tmp_path / "watch", pod, container, lambda text: changed(text) + named)
        done = watcher.run("--once", "--json", **here)
        assert done.returncode == 0, done.stderr
        (told,) = (json.loads(line) for line in done.stdout.splitlines())
        assert told["ingestion"]["files_published"] == 2
        agent = Pod(tmp_path / "agent", *workload("base", "Deployment"), changed)
        done = agent.run("--drain", "--no-http", "--json", **here)
        summary = json.loads(done.stdout)
        assert TOKEN not in done.stdout + done.stderr
    async with KafkaLog(kafka.settings()) as log:
        keys = [json.loads(each.key or b"") async for each in log.browse(FILE_INTELLIGENCE)]
    assert summary["files_processed"] >= 2, done.stderr
    assert {path for owner, path in keys if owner == project} == {"a.py", "b.py"}
