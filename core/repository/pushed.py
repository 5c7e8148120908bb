"""The newest commit of a work tree's history that its remote is known to have, as remote branches tell."""

from __future__ import annotations

import heapq
import stat
from collections.abc import Iterator
from typing import Final

from dulwich.refs import Ref

from core.repository.facts import Skip
from core.repository.git_directory import GitDirectory
from core.repository.git_tree import CorruptObject, Objects, TreeListing
from core.safety.path import from_bytes, to_bytes

WALKED_LIMIT: Final = 50_000
"""Commits looked at before giving up; about 30 µs each."""

_HERE, _THERE = 1, 2


def pushed_commit(git: GitDirectory, head: str, remote: str) -> str | None:
    """`head` or its nearest ancestor that some remote branch of `remote` reaches.

    None if there is none among the commits within the limit.
    """
    prefix = Ref(b"refs/remotes/" + to_bytes(remote))
    tips = {value.decode() for value in git.refs.as_dict(prefix).values()}
    if head in tips:
        return head
    objects = Objects(git.open_objects())
    try:
        return _meeting_point(objects, head, tips)
    finally:
        objects.close()


def commit_blobs(git: GitDirectory, commit: str) -> dict[str, str]:
    """The blob ids of a commit's files, by path. Raises `CorruptObject`."""
    objects = Objects(git.open_objects())
    try:
        listing = TreeListing(objects, objects.tree_of(commit)).files()
        return {
            from_bytes(item.path): item.blob
            for item in listing
            if not isinstance(item, Skip) and stat.S_ISREG(item.mode)
        }
    finally:
        objects.close()


def _meeting_point(objects: Objects, head: str, tips: set[str]) -> str | None:
    """Walk both histories newest first; the first commit that both reach is the newest in common."""
    reached: dict[str, int] = {}
    queue: list[tuple[int, str]] = []
    for start, side in ((head, _HERE), *((tip, _THERE) for tip in tips)):
        for commit, seconds in _dated(objects, start):
            reached[commit] = reached.get(commit, 0) | side
            heapq.heappush(queue, (-seconds, commit))
    walked: set[tuple[str, int]] = set()
    while queue and len(walked) < WALKED_LIMIT:
        _, commit = heapq.heappop(queue)
        sides = reached[commit]
        if sides == _HERE | _THERE:
            return commit
        if (commit, sides) in walked:
            continue
        walked.add((commit, sides))
        for parent, seconds in _parents(objects, commit):
            if reached.get(parent, 0) | sides != reached.get(parent, 0):
                reached[parent] = reached.get(parent, 0) | sides
                heapq.heappush(queue, (-seconds, parent))
    return None


def _dated(objects: Objects, commit: str) -> Iterator[tuple[str, int]]:
    try:
        yield commit, objects.commit(commit).seconds
    except CorruptObject:
        return  # a shallow repository ends here


def _parents(objects: Objects, commit: str) -> Iterator[tuple[str, int]]:
    for parent in objects.commit(commit).parents:
        yield from _dated(objects, parent)
