"""What can be wrong with a file of a Git repository, named so that counters and dead letters tell apart."""

from __future__ import annotations

from core.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigurationError,
    ContentMissing,
    PermanentError,
    RetryableError,
)


class RepositoryNotFound(ContentMissing):
    """The host has no such repository, or does not show it to us."""

    reason = "repository_not_found"


class UnknownCommit(ContentMissing):
    """The repository does not have the commit (never pushed, force-pushed away, collected)."""

    reason = "unknown_commit"


class UnknownRef(ConfigurationError):
    """A branch, tag or abbreviated commit id that the repository does not have."""

    reason = "unknown_ref"


class MissingPath(ContentMissing):
    """The commit has no such file."""

    reason = "missing_path"


class MissingBlob(ContentMissing):
    """The repository does not have the object."""

    reason = "missing_blob"


class SubmodulePath(PermanentError):
    """The path is a submodule: its files are in another repository."""

    reason = "submodule"


class SymlinkPath(PermanentError):
    """The path is a symbolic link, which is never followed."""

    reason = "symlink"


class LfsPointer(PermanentError):
    """The blob is a Git LFS pointer and fetching LFS content is off."""

    reason = "lfs_pointer"


class CloneTooLarge(PermanentError):
    """What is asked of a repository does not fit into the whole clone cache."""

    reason = "clone_too_large"


class HostKeyMismatch(AccessDenied):
    """An SSH host did not prove the key that is pinned for it."""

    reason = "host_key_mismatch"


class CorruptPack(RetryableError):
    """A pack arrived or lay in the cache that is not what its checksums say."""

    reason = "corrupt_pack"


class HostMisbehaved(BackendUnavailable):
    """A Git host broke off or broke the protocol."""

    reason = "git_protocol"
