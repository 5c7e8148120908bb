"""What to ingest, as flags: a directory or a repository on a Git host. `ingest` and `plan` share them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from core.safety.display import display

if TYPE_CHECKING:
    from core.assembly.source import Target

_PANEL = "Git"
_PATH = Annotated[
    Path | None,
    typer.Argument(help="work tree, plain directory or bare repository", show_default=False),
]
_REF = Annotated[str | None, typer.Option("--ref", help="commit, branch or tag of PATH to read")]
_PROJECT = Annotated[
    str | None, typer.Option("--project-name", help="name of the project", show_default=False)
]
_FORCE = Annotated[bool, typer.Option("--force-reindex", help="publish unchanged files too")]
_REBIND = Annotated[bool, typer.Option("--rebind", help="the project has moved here from another source")]
_ALLOW = Annotated[
    str | None,
    typer.Option("--allow-deletions", metavar="N|all", help="let most files of the project be deleted"),
]
_SINCE = Annotated[
    str | None,
    typer.Option("--since", help="publish only what changed since this commit"),
]
_GIT_URL = Annotated[
    str | None,
    typer.Option("--git-url", help="a repository on a Git host, instead of PATH", rich_help_panel=_PANEL),
]
_GIT_REF = Annotated[
    str | None,
    typer.Option("--git-ref", help="branch, tag or commit there", rich_help_panel=_PANEL),
]
CredentialsRef = Annotated[
    str | None,
    typer.Option(
        "--git-credentials-ref",
        help="where the secret is: env:NAME, file:/path, …",
        rich_help_panel=_PANEL,
    ),
]
CredentialsPath = Annotated[
    Path | None,
    typer.Option(
        "--git-credentials-path", help="file with a token or SSH key (mode 0600)", rich_help_panel=_PANEL
    ),
]
_CHECKSUMS = Annotated[
    bool,
    typer.Option("--checksums", help="read the files, to send sizes and SHA-256", rich_help_panel=_PANEL),
]
_PARAMETERS: dict[str, tuple[Any, Any]] = {
    "path": (_PATH, None),
    "ref": (_REF, None),
    "project_name": (_PROJECT, None),
    "force_reindex": (_FORCE, False),
    "since": (_SINCE, None),
    "rebind": (_REBIND, False),
    "allow_deletions": (_ALLOW, None),
    "git_url": (_GIT_URL, None),
    "git_ref": (_GIT_REF, None),
    "git_credentials_ref": (CredentialsRef, None),
    "git_credentials_path": (CredentialsPath, None),
    "checksums": (_CHECKSUMS, False),
}


def with_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that say what to ingest, and what they mean as `target`."""

    @functools.wraps(command)
    def wrapper(*args: Any, **given: Any) -> Any:
        own = {name: given.pop(name) for name in _PARAMETERS}
        return command(*args, target=target_of(**own), **given)

    own = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _PARAMETERS.items()
    ]
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        if parameter.name != "target"
    ]
    signature = own.replace(parameters=[*kept, *added])
    wrapper.__signature__ = signature  # type: ignore[attr-defined] # inspect reads it
    wrapper.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
    return wrapper


def target_of(
    *,
    path: Path | None,
    ref: str | None,
    project_name: str | None,
    force_reindex: bool,
    since: str | None,
    rebind: bool,
    allow_deletions: str | None,
    git_url: str | None,
    git_ref: str | None,
    git_credentials_ref: str | None,
    git_credentials_path: Path | None,
    checksums: bool,
) -> Target:
    """What the flags ask for. Raises UsageError where they contradict each other."""
    from core.assembly.source import RemoteTarget, Target

    if (path is None) == (git_url is None):
        raise UsageError("give either PATH or --git-url")
    if git_url is None and (git_ref or checksums):
        raise UsageError("--git-ref and --checksums go with --git-url", hint="--ref names a commit of PATH")
    if git_url is not None and ref:
        raise UsageError("--ref goes with PATH", hint="--git-ref names a commit of --git-url")
    if since and force_reindex:
        raise UsageError("--since and --force-reindex exclude each other")
    return Target(
        path if path is not None else RemoteTarget(git_url or "", checksums),
        ref=ref if path is not None else git_ref,
        credential_ref=credential_ref(git_credentials_ref, git_credentials_path),
        project_name=project_name,
        force_reindex=force_reindex,
        since=since,
        rebind=rebind,
        allow_deletions=_count(allow_deletions),
    )


def _count(allowed: str | None) -> float:
    """How many deletions are allowed. Raises UsageError for what is neither a number nor `all`."""
    if allowed is None:
        return 0
    if allowed == "all":
        return float("inf")
    if not allowed.isdecimal():
        raise UsageError(f"--allow-deletions takes a number or all, not {display(allowed)}")
    return int(allowed)


def credential_ref(reference: str | None, path: Path | None) -> str | None:
    """The credential reference that was given. Raises UsageError for a missing file and for both at once."""
    if reference and path:
        raise UsageError("give either --git-credentials-ref or --git-credentials-path")
    if path and not path.is_file():
        raise UsageError(f"there is no credential file {path}")
    return f"file:{path.resolve()}" if path else reference
