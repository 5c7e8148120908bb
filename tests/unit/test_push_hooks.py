"""Push hooks: which are genuine, what they are about, and what hostile ones come to."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AccessDenied, InvalidEvent
from core.watching.hooks import Push, key_of, parse, verify

SECRET = "it is a secret"
COMMIT = "0123456789" * 4
GITHUB = {
    "ref": "refs/heads/main",
    "before": "f" * 40,
    "after": COMMIT,
    "repository": {
        "name": "shop",
        "clone_url": "https://github.com/Team/shop.git",
        "ssh_url": "git@github.com:Team/shop.git",
        "git_url": "git://github.com/Team/shop.git",
        "html_url": "https://github.com/Team/shop",
        "default_branch": "main",
    },
}
GITLAB = {
    "object_kind": "push",
    "ref": "refs/heads/release/1",
    "after": COMMIT,
    "project": {
        "git_http_url": "https://gitlab.example.com/team/shop.git",
        "git_ssh_url": "git@gitlab.example.com:team/shop.git",
        "default_branch": "main",
    },
}
ON_GITHUB, ON_GITLAB = {"X-GitHub-Event": "push"}, {"X-Gitlab-Event": "Push Hook"}
ON_GITLAB_SYSTEM = {"X-Gitlab-Event": "System Hook"}


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, sha256).hexdigest()}"}


def test_a_signed_body_is_genuine() -> None:
    verify(signature(b"body"), b"body", SECRET)
    signed = signature(b"body")["X-Hub-Signature-256"]
    verify({"X-Hub-Signature": signed}, b"body", SECRET)
    verify({"X-Gitea-Signature": signed.removeprefix("sha256=")}, b"body", SECRET)
    verify({"X-Gitlab-Token": SECRET}, b"whatever", SECRET)


def test_the_signature_is_that_of_githubs_documentation() -> None:
    known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verify({"X-Hub-Signature-256": known}, b"Hello, World!", "It's a Secret to Everybody")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": "sha256=\udcff"},
        signature(b"another body"),
        signature(b"body", "another secret"),
        {"X-Hub-Signature-256": signature(b"body")["X-Hub-Signature-256"].upper()},
        {"X-Hub-Signature": "sha1=" + "0" * 40},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-Gitlab-Token": SECRET},
        {"X-Gitlab-Token": SECRET[:-1]},
        {"X-Gitlab-Token": SECRET + " "},
        {"X-Gitlab-Token": "\udcff"},
        {"Authorization": f"Bearer {SECRET}"},
    ],
)
def test_anything_else_is_not(headers: dict[str, str]) -> None:
    with pytest.raises(AccessDenied) as caught:
        verify(headers, b"body", SECRET)
    assert SECRET not in str(caught.value)


@given(st.binary(), st.integers(0, 1 << 16))
def test_no_flipped_bit_is_genuine(body: bytes, place: int) -> None:
    signed = signature(body)
    changed = bytearray(body or b"\0")
    changed[place // 8 % len(changed)] ^= 1 << place % 8
    with pytest.raises(AccessDenied):
        verify(signed, bytes(changed), SECRET)


def test_what_a_push_is_about() -> None:
    assert parse(ON_GITHUB, json.dumps(GITHUB).encode()) == [
        Push(frozenset({"github.com/team/shop"}), "main", COMMIT, "main")
    ]
    on_gitlab = [Push(frozenset({"gitlab.example.com/team/shop"}), "release/1", COMMIT, "main")]
    assert parse(ON_GITLAB, json.dumps(GITLAB).encode()) == on_gitlab
    assert parse(ON_GITLAB_SYSTEM, json.dumps({**GITLAB, "event_name": "push"}).encode()) == on_gitlab


def test_what_a_push_to_bitbucket_is_about() -> None:
    """Data Center, its HTTP below /scm; Cloud, with one branch moved and one deleted. Tags are left out."""
    clone = [
        {"href": "https://git.example.com:7990/scm/team/shop.git"},
        {"href": "ssh://git@git.example.com:7999/team/shop.git"},
    ]
    main = {"ref": {"id": "refs/heads/main", "type": "BRANCH"}, "toHash": COMMIT}
    tag = {"ref": {"id": "refs/tags/v1", "type": "TAG"}, "toHash": COMMIT}
    told: dict[str, Any] = {"repository": {"links": {"clone": clone}}, "changes": [tag, main]}
    expected = [Push(frozenset({"git.example.com/team/shop"}), "main", COMMIT)]
    assert parse({"X-Event-Key": "repo:refs_changed"}, json.dumps(told).encode()) == expected
    moved = {"new": {"type": "branch", "name": "main", "target": {"hash": COMMIT}}, "old": None}
    gone = {"new": None, "old": {"type": "branch", "name": "old", "target": {"hash": COMMIT}}}
    html = {"href": "https://bitbucket.org/Team/shop"}
    told = {"repository": {"links": {"html": html}}, "push": {"changes": [moved, gone]}}
    keys = frozenset({"bitbucket.org/team/shop"})
    assert parse({"X-Event-Key": "repo:push"}, json.dumps(told).encode()) == [
        Push(keys, "main", COMMIT),
        Push(keys, "old", None),
    ]


@pytest.mark.parametrize(
    "told", [{}, {"repository": 1}, {"repository": {}, "changes": [1]}, {"repository": {}}]
)
@pytest.mark.parametrize("event", ["repo:refs_changed", "repo:push"])
def test_nonsense_from_bitbucket(event: str, told: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        parse({"X-Event-Key": event}, json.dumps(told).encode())


def test_a_deleted_branch_is_at_no_commit() -> None:
    (push,) = parse(ON_GITHUB, json.dumps({**GITHUB, "after": "0" * 40, "deleted": True}).encode())
    assert push.commit is None


@pytest.mark.parametrize(
    ("headers", "change"),
    [
        ({"X-GitHub-Event": "ping"}, {}),
        ({"X-GitHub-Event": "pull_request"}, {}),
        ({"X-Gitlab-Event": "Tag Push Hook"}, {}),
        (ON_GITLAB_SYSTEM, {"event_name": "project_create"}),
        (ON_GITLAB_SYSTEM, {"object_kind": "tag_push"}),
        ({}, {}),
        (ON_GITHUB, {"ref": "refs/tags/v1"}),
    ],
)
def test_other_events_are_nothing(headers: dict[str, str], change: dict[str, Any]) -> None:
    assert parse(headers, json.dumps({**GITHUB, **change}).encode()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"ref": 1, "after": "x"}',
        b'{"ref": "refs/heads/x", "after": null}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"ref": ' + b"9" * 10_000 + b"}",
        b"payload=%7B%7D",
    ],
)
def test_what_is_no_push_is_said_to_be_invalid(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse(ON_GITHUB, body)


@pytest.mark.parametrize(
    "about",
    [
        [],
        {"clone_url": 1},
        {"clone_url": "ext::sh -c id"},
        {"clone_url": "file:///etc/passwd/../x"},
        {"clone_url": "https://user:secret@github.com/Team/shop.git"},
        {"clone_url": "x" * 100_000},
        {"clone_url": "https://github.com/Team/shop.git\n"},
    ],
)
def test_hostile_urls_are_of_no_repository(about: Any) -> None:
    (push,) = parse(ON_GITHUB, json.dumps({**GITHUB, "repository": about}).encode())
    assert not push.repositories & {"github.com/team/shop"}


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(repository=json_values, project=json_values, ref=st.text(), after=st.text())
def test_no_json_is_a_surprise(repository: Any, project: Any, ref: str, after: str) -> None:
    told = {"repository": repository, "project": project, "ref": f"refs/heads/{ref}", "after": after}
    (push,) = parse(ON_GITLAB, json.dumps(told).encode())
    assert push.branch == ref


@pytest.mark.parametrize(
    "url",
    [
        "https://Git.Example.com/Team/shop.git",
        "https://git.example.com:443/team/shop/",
        "http://git.example.com/team/shop",
        "ssh://git@git.example.com/team/shop.git",
        "git@git.example.com:team/shop.git",
        "git@git.example.com:/team/shop",
        "git://git.example.com/team/shop.git",
        "https://git.example.com:8443/team/shop.git",
        "https://git.example.com:7990/scm/team/shop.git",
        "ssh://git@git.example.com:2222/team/shop.git",
    ],
)
def test_one_repository_has_one_key(url: str) -> None:
    assert key_of(url) == "git.example.com/team/shop"


def test_ssh_on_the_port_of_https_is_the_same_host() -> None:
    assert key_of("ssh://git@ssh.github.com:443/Team/shop.git") == "github.com/team/shop"
    assert key_of("ssh://git@altssh.gitlab.com:443/team/shop.git") == "gitlab.com/team/shop"


OTHERS = (
    "https://git.example.com/team/shop2.git",
    "https://git.example.org/team/shop.git",
    "https://10.0.0.1/team/shop.git",
)


def test_others_have_others() -> None:
    assert len({*map(key_of, OTHERS), "git.example.com/team/shop", None}) == len(OTHERS) + 2
