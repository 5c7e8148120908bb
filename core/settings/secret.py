"""References to secrets: settings and files name where a secret is, they never hold it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from core.errors import ConfigurationError
from core.safety.secret_file import read_secret_file

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+")


def check_reference(value: str) -> str:
    """`value` if it is `env:NAME` or `file:/absolute/path`. Raises `ValueError` without repeating it."""
    if not _REFERENCE.fullmatch(value):
        raise ValueError("give env:NAME or file:/path, never the secret itself")
    return value


SecretReference = Annotated[str, AfterValidator(check_reference)]


def read_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret that `reference` names, without a trailing newline.

    Read anew at every call, so that a rotated file is noticed. Raises `ConfigurationError` naming the
    reference, never the secret.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = (os.environ if environ is None else environ).get(name)
        if not value:
            raise ConfigurationError(f"the environment variable {name} that a setting names is not set")
        return value
    return read_secret_file(name).rstrip("\r\n")
