"""Bare repositories made by one `git fast-import` each: real Git, no work tree, fast to generate."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.pack import pack_object_header, write_pack_index

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "T",
    "GIT_AUTHOR_EMAIL": "t@example.com",
    "GIT_COMMITTER_NAME": "T",
    "GIT_COMMITTER_EMAIL": "t@example.com",
}


@dataclass(frozen=True)
class Link:
    """A symbolic link in a commit."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A submodule in a commit."""

    commit: str


Content = bytes | Link | Submodule | None


class BareRepository:
    """A bare repository to serve. `commit` maps paths to contents; None deletes."""

    def __init__(self, path: Path, object_format: str = "sha1") -> None:
        self.path = path
        self._time = 1_700_000_000
        self._git(
            "init",
            "-q",
            "--bare",
            f"--object-format={object_format}",
            "-b",
            "main",
            str(path),
            at=path.parent,
        )
        self.git("config", "uploadpack.allowFilter", "true")

    def commit(
        self,
        files: Mapping[str, Content] | Iterable[tuple[str, Content]],
        *,
        branch: str = "main",
        parent: str | None = "branch",
    ) -> str:
        """Commit changes on top of `branch` (or of `parent`, or of nothing) and return the commit's id."""
        items = files.items() if isinstance(files, Mapping) else files
        process = subprocess.Popen(
            ["git", "fast-import", "--quiet", "--force"],
            cwd=self.path,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
        )
        assert process.stdin
        with process.stdin as stream:
            self._time += 60
            for part in self._stream(items, branch, self._parent(branch, parent)):
                stream.write(part)
        assert process.wait() == 0
        return self.git("rev-parse", f"refs/heads/{branch}")

    def commit_incompressible(self, count: int, size: int, *, seed: int = 5) -> str:
        """Commit `count` files of `size` bytes that neither deflate nor make deltas.

        The pack is written here: git hashes every byte four times, at a sixth of the speed.
        """
        self.git("config", "core.bigFileThreshold", "512k")
        block = random.Random(seed).randbytes(size)
        entries, names = [], []
        digest = hashlib.sha1(usedforsecurity=False)
        path = self.path / "objects" / "pack" / "pack-incompressible.pack"
        with path.open("wb") as pack:

            def write(data: bytes) -> None:
                digest.update(data)
                pack.write(data)

            write(b"PACK" + struct.pack(">LL", 2, count))
            for number in range(count):
                content = number.to_bytes(8, "big") + block[8:]
                oid = hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False)
                packed = bytes(pack_object_header(3, None, size, SHA1)) + zlib.compress(content, 0)
                entries.append((oid.digest(), pack.tell(), zlib.crc32(packed)))
                names.append(f"100644 blob {oid.hexdigest()}\tpart_{number:04}.bin\n")
                write(packed)
            pack.write(digest.digest())
        with path.with_suffix(".idx").open("wb") as index:
            write_pack_index(index, sorted(entries), digest.digest())
        made = subprocess.run(
            ["git", "mktree"], cwd=self.path, env=ENVIRONMENT, input="".join(names),
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        commit = self.git("commit-tree", "-m", "large", made.stdout.strip())
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def _parent(self, branch: str, parent: str | None) -> str | None:
        if parent != "branch":
            return parent
        known = subprocess.run(
            ["git", "rev-parse", "-q", "--verify", f"refs/heads/{branch}"],
            cwd=self.path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return known.stdout.strip() or None

    def _stream(
        self, items: Iterable[tuple[str, Content]], branch: str, parent: str | None
    ) -> Iterator[bytes]:
        if parent is None:
            yield f"reset refs/heads/{branch}\n".encode()
        yield f"commit refs/heads/{branch}\n".encode()
        yield f"committer T <t@example.com> {self._time} +0000\ndata 1\nc\n".encode()
        if parent:
            yield f"from {parent}\n".encode()
        for path, content in items:
            name = b'"' + path.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\").replace(
                b'"', b'\\"'
            )
            name = name.replace(b"\n", b"\\n") + b'"\n'
            if content is None:
                yield b"D " + name
            elif isinstance(content, Submodule):
                yield b"M 160000 " + content.commit.encode() + b" " + name
            else:
                mode, data = (
                    (b"120000", content.target.encode())
                    if isinstance(content, Link)
                    else (b"100644", content)
                )
                yield b"M " + mode + b" inline " + name + b"data %d\n" % len(data) + data + b"\n"

    def write(self, kind: str, content: bytes) -> str:
        """Store an object as it is, however malformed; its id."""
        done = subprocess.run(
            ["git", "hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            cwd=self.path,
            env=ENVIRONMENT,
            input=content,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode().strip()

    def blob(self, path: str, commit: str = "main") -> str:
        """The object id of `path` in `commit`."""
        return self.git("rev-parse", f"{commit}:{path}")

    def content(self, path: str, commit: str = "main") -> bytes:
        """A file's bytes in `commit`."""
        return subprocess.run(
            ["git", "cat-file", "blob", f"{commit}:{path}"],
            cwd=self.path, env=ENVIRONMENT, check=True, capture_output=True,
        ).stdout  # fmt: skip

    def blobs(self, commit: str = "main") -> dict[str, str]:
        """The object ids of all files of `commit` by path."""
        lines = self.git("-c", "core.quotePath=false", "ls-tree", "-r", commit).splitlines()
        return {path: head.split()[2] for head, _, path in (line.partition("\t") for line in lines)}

    def git(self, *arguments: str) -> str:
        """Run git in the repository; its output, stripped."""
        return self._git(*arguments, at=self.path)

    def _git(self, *arguments: str, at: Path) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=at, env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


def generated_files(count: int, *, seed: int = 1, size: int = 6000) -> Iterator[tuple[str, bytes]]:
    """`count` files of text that compresses like source code, about `size` bytes each, in 50-file folders."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz_", k=rng.randint(2, 12))) for _ in range(4000)]
    for number in range(count):
        length = max(1, int(rng.lognormvariate(0, 0.9) * size / 1.5))
        text = " ".join(rng.choices(words, k=length // 8 + 1))
        yield f"src/m{number // 2500:02}/p{number // 50:04}/file_{number:06}.py", text.encode()[:length]
