"""Opening a repository: which kind `path` is, and which commit of it is meant."""

from __future__ import annotations

import time
from pathlib import Path

from core.errors import UsageError
from core.repository.facts import Repository
from core.repository.listing import Clock
from core.repository.plain_directory import PlainDirectory
from core.safety.display import display


def open_repository(
    path: str | Path,
    *,
    ref: str | None = None,
    include_untracked: bool = False,
    clock: Clock = time.time_ns,
) -> Repository:
    """Open a Git work tree (or a directory in one), a bare repository or a plain directory.

    `ref` (branch, tag, commit id) reads that commit from the object store instead of files; a bare
    repository's default is HEAD. `include_untracked` adds untracked files that are not ignored.
    `clock` is wall-clock time in ns. The caller closes the result. Raises UsageError where `path` or
    `ref` names nothing readable, PermanentError for a corrupt or unknown repository.
    """
    shown = display(str(path))
    try:
        top = Path(path).expanduser().resolve(strict=True)
        if not top.is_dir():
            raise UsageError(f"{shown} is not a directory", hint="give a repository's directory")
        return _open(top, ref, include_untracked, clock)
    except FileNotFoundError:
        raise UsageError(f"{shown} does not exist", hint="check the path") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or display(str(error))
        raise UsageError(
            f"cannot open {shown}: {reason}", hint="check the path and its permissions"
        ) from None


def _open(top: Path, ref: str | None, include_untracked: bool, clock: Clock) -> Repository:
    from core.repository import git_directory  # dulwich costs 60 ms to import
    from core.repository.commit import CommitFiles
    from core.repository.work_tree import WorkTree

    if ref is not None and include_untracked:
        raise UsageError("a commit has no untracked files", hint="give either a ref or untracked files")
    git = git_directory.discover(top)
    if git is None:
        if ref is not None:
            raise UsageError(f"{display(str(top))} is no Git repository, so it has no {display(ref)}")
        return PlainDirectory(top, clock=clock)
    prefix = top.relative_to(git.work_tree).as_posix() + "/" if git.work_tree and top != git.work_tree else ""
    if ref is not None or git.work_tree is None:
        return CommitFiles(git, top, "HEAD" if ref is None else ref, prefix=prefix)
    tree = WorkTree(git, git.work_tree, prefix=prefix, include_untracked=include_untracked, clock=clock)
    if not prefix or tree.has_tracked_files():
        return tree
    tree.close()
    return PlainDirectory(top, clock=clock)
