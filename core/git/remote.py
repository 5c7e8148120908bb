"""One repository on its host: its refs, and packs of exactly the objects that are asked for. All blocking."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from dulwich.client import GitClient, LocalGitClient
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
from dulwich.object_format import ObjectFormat, get_object_format
from dulwich.objects import ObjectID
from dulwich.refs import Ref

from core.errors import AccessDenied, ArchonError, BackendUnavailable
from core.git.errors import HostMisbehaved, RepositoryNotFound
from core.git.http import FETCH_PREFIX, HostRefused
from core.git.transfer import Transfer
from core.safety.display import display
from core.safety.git_url import GitUrl
from core.safety.redact import redact

NO_BLOBS: Final = b"blob:none"
NO_TREES: Final = b"tree:0"
# What a host can make the protocol code raise by breaking the protocol.
_BROKEN = (
    GitProtocolError,
    ValueError,
    LookupError,
    AssertionError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
)
_ABSENT = re.compile(
    r"not found|not appear to be a git repository|does not exist|not exported", re.IGNORECASE
)
_DENIED = re.compile(r"denied|unauthori[sz]ed|forbidden|not allowed|authentication", re.IGNORECASE)
_OBJECT_ID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


class WantsRefused(Exception):
    """The host does not give some objects by their id; `ids` are those it named, maybe none."""

    def __init__(self, ids: frozenset[str], said: str) -> None:
        super().__init__(said)
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Refs:
    """What a host advertises: ids by full ref name, annotated tags also peeled; HEAD's branch if told."""

    ids: dict[str, str]
    peeled: dict[str, str]
    head: str | None
    object_format: ObjectFormat

    def commit(self, name: str) -> str | None:
        """The commit a full ref name stands for."""
        return self.peeled.get(name) or self.ids.get(name)


class GitRemote:
    """A repository as `client` reaches it. Every method runs inside a `Transfer` and raises its reasons."""

    def __init__(self, url: GitUrl, client: GitClient) -> None:
        self.url = url
        self._client = client

    def refs(self, prefixes: Sequence[str]) -> Refs:
        """The refs whose full names begin with one of `prefixes` (and HEAD if listed)."""
        with self._explained():
            found = self._client.get_refs(
                self._path, ref_prefix=[prefix.encode("utf-8", "surrogateescape") for prefix in prefixes]
            )
        ids: dict[str, str] = {}
        peeled: dict[str, str] = {}
        for name, value in found.refs.items():
            text = bytes(name).decode("utf-8", "surrogateescape")
            if value is not None and text.endswith("^{}"):
                peeled[text.removesuffix("^{}")] = value.decode("ascii", "replace")
            elif value is not None and text.startswith((*prefixes,)):
                ids[text] = value.decode("ascii", "replace")
        head = {bytes(name): bytes(target) for name, target in (found.symrefs or {}).items()}.get(b"HEAD")
        format_name = found.object_format or "sha1"
        return Refs(
            ids,
            peeled,
            head.decode("utf-8", "surrogateescape") if head else None,
            get_object_format(format_name),
        )

    def fetch(
        self,
        wants: Collection[str],
        write: Callable[[bytes], int],
        *,
        depth: int | None = None,
        haves: Sequence[str] = (),
        object_filter: bytes | None = None,
    ) -> None:
        """Stream a pack of `wants` (and, of commits, what they reach within `depth`) to `write`.

        `haves` are commits whose trees we hold: the pack may have deltas against these. A host may
        ignore the filter. Raises `WantsRefused` when ids are not given, else `AccessDenied`,
        `RepositoryNotFound`, `HostMisbehaved` or the transfer's reason.
        """
        ids = [ObjectID(want.encode()) for want in wants]
        transfer = Transfer.current()
        advertised: set[bytes] = set()
        arrived = 0

        def wanted(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001
            advertised.update(refs.values())
            return ids

        def sink(data: bytes) -> int:
            nonlocal arrived
            arrived += len(data)
            transfer.check()
            return write(data)

        try:
            with self._explained(wants):
                self._client.fetch_pack(
                    self._path,
                    wanted,
                    _Haves(haves),
                    sink,
                    depth=depth,
                    ref_prefix=FETCH_PREFIX,
                    filter_spec=object_filter,
                )
        except BackendUnavailable as error:
            # Old hosts may refuse an id they did not advertise by falling over.
            if self.protocol_version == 0 and not arrived and not advertised >= set(ids):
                raise WantsRefused(frozenset(), str(error)) from None
            raise
        transfer.check()
        if not arrived:
            raise HostMisbehaved(f"{self.url.authority} sent an empty answer")

    @property
    def protocol_version(self) -> int:
        """What the last exchange spoke: 2, or 0 on old hosts, which neither filter nor give any id."""
        return int(getattr(self._client, "protocol_version", 0))

    @property
    def _path(self) -> bytes:
        return self.url.path.encode()

    @contextmanager
    def _explained(self, wants: Collection[str] = ()) -> Iterator[None]:
        host = self.url.authority or self.url.path
        try:
            yield
        except ArchonError:
            raise
        except NotGitRepository:
            raise RepositoryNotFound(f"{host} has no such repository") from None
        except HostRefused as error:
            raise self._refusal(str(error), wants) from None
        except HangupException as error:
            Transfer.current().check()
            said = b" ".join(error.stderr_lines or []).decode("utf-8", "replace")
            raise self._refusal(said or "the host hung up", wants) from None
        except _BROKEN as error:
            Transfer.current().check()
            raise self._refusal(str(error) or type(error).__name__, wants) from None
        except OSError as error:
            Transfer.current().check()
            raise HostMisbehaved(f"{host} broke off: {error.strerror or error}") from None

    def _refusal(self, said: str, wants: Collection[str]) -> Exception:
        shown = display(redact(said), 200)
        if wants and (named := frozenset(_OBJECT_ID.findall(said)) & set(wants)):
            return WantsRefused(named, shown)
        if wants and "not our ref" in said:
            return WantsRefused(frozenset(), shown)
        host = self.url.authority or self.url.path
        if _ABSENT.search(said):
            return RepositoryNotFound(f"{host} has no such repository: {shown}")
        if _DENIED.search(said):
            return AccessDenied(f"{host} refuses: {shown}")
        return HostMisbehaved(f"{host} broke off: {shown}")


class _Haves:
    """What we have, to a host that asks (dulwich's graph walker). All of it is shallow."""

    def __init__(self, commits: Sequence[str]) -> None:
        self.shallow = {ObjectID(commit.encode()) for commit in commits}
        self._rest = iter([ObjectID(commit.encode()) for commit in commits])

    def __next__(self) -> ObjectID | None:
        return next(self._rest, None)

    def ack(self, sha: ObjectID) -> None:
        """Nothing to learn: every have is offered anyway."""

    def nak(self) -> None:
        """Nothing to learn: every have is offered anyway."""


def local_client() -> GitClient:
    """For a repository on this machine (`file://`, by setting only)."""
    return _LocalClient()


class _LocalClient(LocalGitClient):
    """Has the state that every other client has; dulwich's own leaves it out."""

    def __init__(self) -> None:
        super().__init__()
        GitClient.__init__(self)
