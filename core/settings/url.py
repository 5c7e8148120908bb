"""The type of settings that hold a URL, which may carry a user and a password."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import unquote

from pydantic import AfterValidator

from core.safety.redact import MASK, redact, register_secret

# Up to the last "@": a password may hold any character, even those that end it by the RFC.
_USERINFO: Final = re.compile(r"^([a-z][a-z0-9+.-]*://|//)?(.*)@", re.IGNORECASE | re.DOTALL)
# A path that was given a URL has one slash after the scheme.
_LIKE_A_URL: Final = re.compile(r"^([a-z][a-z0-9+.-]+:/+)[^/?#]*@", re.IGNORECASE)


class UrlMark:
    """Marks the annotation of a setting that holds a URL."""


def shown_url(url: str) -> str:
    """`url` as it may be shown: without user, password, query and fragment."""
    shown = _USERINFO.sub(rf"\1{MASK}@", url)
    end = min((at for at in (shown.find("?"), shown.find("#")) if at >= 0), default=len(shown))
    return redact(shown[:end]) + (f"{shown[end]}{MASK}" if end < len(shown) else "")


def shown_text(text: str) -> str:
    """A setting's `text` as it may be shown, where the setting is not meant for a URL."""
    return redact(_LIKE_A_URL.sub(rf"\1{MASK}@", text))


def _register(url: str) -> str:
    """Make the password known to `redact`; a user without a password is a token."""
    if match := _USERINFO.match(url):
        user, _, password = match[2].partition(":")
        register_secret(password or user)
        register_secret(unquote(password or user))
    return url


Url = Annotated[str, AfterValidator(_register), UrlMark()]
