"""Secrets taken out of text before it reaches a log, an exception, a topic or a screen.

Known secret values are registered where they are resolved; whatever looks like a credential by its
shape (userinfo, signed query, Authorization, private key) goes too, whether registered or not.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
        self._forms: Counter[str] = Counter()
        self._known: re.Pattern[str] | None = None
        self._is_stale = False

    def register(self, secret: str) -> None:
        """Scrub `secret` from now on, in every form it is likely to be met in.

        Forms: itself, each longer line of it, percent-encoded, JSON-escaped, and its base64 (standard
        and URL-safe) at any position inside a longer encoded text, as in a Basic header.
        """
        with self._lock:
            for form in _all_forms(secret):
                if form not in self._forms:
                    self._forms[form] = 1
                    self._is_stale = True

    @contextmanager
    def scrubbing(self, secrets: Iterable[str]) -> Iterator[None]:
        """Scrub `secrets` while inside: what a host gave for one exchange is worth nothing after it."""
        forms = [form for secret in secrets for form in _all_forms(secret)]
        with self._lock:
            self._forms.update(forms)
            self._is_stale = True
        try:
            yield
        finally:
            with self._lock:
                self._forms.subtract(forms)
                self._forms += Counter()  # drops what is counted down to nothing
                self._is_stale = True

    def _pattern(self) -> re.Pattern[str] | None:
        """Every known form, longest first; made when it is first needed, so that registering is cheap."""
        if self._is_stale:
            with self._lock:
                longest_first = sorted(self._forms, key=len, reverse=True)
                self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
                self._is_stale = False
        return self._known

    def __call__(self, text: str) -> str:
        """`text` with every secret replaced by `***`. Linear in the length of the text."""
        # By shape first: a line of a key that is registered too would break the shape.
        if "PRIVATE KEY" in text:
            text = _PRIVATE_KEY.sub(MASK, text)
        if known := self._pattern():
            text = known.sub(MASK, text)
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


def _all_forms(secret: str) -> set[str]:
    values = {secret.strip(), *(line.strip() for line in secret.splitlines())}
    return {form for value in values if len(value) >= SHORTEST_SECRET for form in _forms_of(value)}


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

scrubbing = _process.scrubbing
"""Make secrets known to `redact` for the time of a `with` block."""

redact = _process.__call__
"""Scrub text before it is logged, raised, published or shown."""
