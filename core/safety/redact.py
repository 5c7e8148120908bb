"""Secrets taken out of text before it reaches a log, an exception, a topic or a screen.

Known secret values are registered where they are resolved; whatever looks like a credential by its
shape (userinfo, signed query, Authorization, private key) goes too, whether registered or not.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from urllib.parse import quote

MASK = "***"

SHORTEST_SECRET = 6
"""Characters; anything shorter would blot out ordinary text and is no secret worth the name."""

_FIELD = (
    r"(?:access|private|auth|refresh|id|job|session)[_-]?token|api[_-]?key|client[_-]?secret"
    r"|secret[_-]?(?:access[_-]?)?key|password|passwd"
)
_PARAMETER = (
    r"x-(?:amz|goog)-[a-z0-9-]{1,40}|signature|sig|awsaccesskeyid|googleaccessid|key-pair-id|policy"
    rf"|token|secret|pwd|{_FIELD}"
)
_QUERY = re.compile(r"\?[^\s\"'<>`\\]*(?:\\u0026[^\s\"'<>`\\]*)*")
_SIGNED_PARAMETER = re.compile(rf"(?:^|[?&;]|\\u0026)(?:{_PARAMETER})=", re.IGNORECASE)
_ESCAPED_PARAMETER = re.compile(
    r"(x-(?:amz|goog)-(?:signature|credential|security-token)(?:%3d|=))[^\s&\"'<>%;,]+(?:%[^\s&\"'<>;,]*)?",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"://[^\s/?#\"'<>]*@")
_AUTHORIZATION = re.compile(
    r"((?:proxy-)?authorization['\"]?\s{0,9}[:=,]\s{0,9}b?['\"]?)[^\r\n'\"}\]]+", re.IGNORECASE
)
_SCHEME = re.compile(r"\b((?:bearer|basic)\s{1,9})[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    # A bare word before a colon is prose ("unexpected token: x"); quoted, or with "=", it is a field.
    rf"((?<![A-Za-z0-9])(?:(?:{_FIELD})['\"]?\s{{0,9}}[:=]|(?:token|secret|pwd)(?:['\"]\s{{0,9}}:|=))\s{{0,9}})"
    r"(?:\"[^\"\r\n]*\"|'[^'\r\n]*'|[^\s\"'&,;}\]]+)",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# Shapes that hosts publish so that scanners find their tokens.
_TOKEN = re.compile(
    r"\b(?:gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16})\b"
)


class Redactor:
    """Scrubs text; knows the values registered with it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def register(self, secret: str) -> None:
        """Scrub `secret` from now on, in every form it is likely to be met in.

        Forms: itself, each longer line of it, percent-encoded, JSON-escaped, and its base64 (standard
        and URL-safe) at any position inside a longer encoded text, as in a Basic header.
        """
        values = {secret.strip(), *(line.strip() for line in secret.splitlines())}
        forms = {form for value in values if len(value) >= SHORTEST_SECRET for form in _forms_of(value)}
        with self._lock:
            if forms <= self._forms:
                return
            self._forms |= forms
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """`text` with every secret replaced by `***`. Linear in the length of the text."""
        # By shape first: a line of a key that is registered too would break the shape.
        if "PRIVATE KEY" in text:
            text = _PRIVATE_KEY.sub(MASK, text)
        if self._known:
            text = self._known.sub(MASK, text)
        if "://" in text:
            text = _USERINFO.sub(f"://{MASK}@", text)
        if "?" in text:
            text = _QUERY.sub(_without_signature, text)
        text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
        text = _SCHEME.sub(rf"\1{MASK}", text)
        text = _ESCAPED_PARAMETER.sub(rf"\1{MASK}", text)
        text = _ASSIGNMENT.sub(rf"\1{MASK}", text)
        return _TOKEN.sub(MASK, text)


def _without_signature(match: re.Match[str]) -> str:
    """A query that carries any credential goes whole: parts of a signed link are of no use to a reader."""
    return f"?{MASK}" if _SIGNED_PARAMETER.search(match[0]) else match[0]


def _forms_of(value: str) -> set[str]:
    raw = value.encode("utf-8", "surrogateescape")
    forms = {value, quote(raw, safe=""), json.dumps(value)[1:-1]}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        # Cut the characters that also hold bits of the neighbours on either side.
        whole = encoded[(0, 2, 3)[offset] : len(encoded) - (0, 3, 2)[(offset + len(raw)) % 3]].decode()
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


_process = Redactor()

register_secret = _process.register
"""Make a secret's value known to `redact` for the life of the process."""

redact = _process.__call__
"""Scrub text before it is logged, raised, published or shown."""
