"""No credential survives `redact`, in whatever form it arrives, and ordinary text does."""

from __future__ import annotations

import base64
import json
import re
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.git.lfs import _credentials
from core.safety.redact import MASK, Redactor, redact, register_secret

CANARY = "s3cr3t/Canary+Value=="
SIGNED = (
    "https://bucket.s3.us-east-1.amazonaws.com/projects/demo/11.csv?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIDEXAMPLE%2F20260105%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260105T120000Z"
    "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Security-Token=FwoGZXIvYXdzE"
    "&X-Amz-Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
)


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("cloning https://alice:hunter2@git.example.com/x.git failed", "hunter2"),
        ("https://ghx-token@git.example.com/x", "ghx-token"),
        ("https://al:p@ss@git.example.com/x", "ss@"),
        ("ssh://git:pw@host", "pw"),
        (f"GET {SIGNED} -> 403", "5d672d79"),
        (f"GET {SIGNED} -> 403", "FwoGZXIvYXdzE"),
        (f"GET {SIGNED} -> 403", "AKIDEXAMPLE"),
        (json.dumps({"url": SIGNED}), "5d672d79"),
        (json.dumps({"url": SIGNED}).replace("&", "\\u0026"), "5d672d79"),
        (SIGNED.replace("&", "&amp;"), "5d672d79"),
        ("next=" + quote(SIGNED, safe=""), "5d672d79"),
        ("https://x.blob.example.net/c/b?sv=2020&sig=Zm9vYmFy%3D", "Zm9vYmFy"),
        ("https://x/y?a=1&access_token=abcdef", "abcdef"),
        ("https://storage.googleapis.com/b/o?Expires=1&GoogleAccessId=GOOG1E&Signature=abc%2B", "abc%2B"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
        ("('authorization', b'Basic dXNlcjpwYXNz')", "dXNlcjpwYXNz"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=AK/2026, Signature=beef", "beef"),
        ("sent header basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz"),
        ("password = 'my pass word'", "pass word"),
        ('{"token": "abcdefgh"}', "abcdefgh"),
        ("aws_secret_access_key=wJalrXUtnFEMI", "wJalrXUtnFEMI"),
        ("ghp_" + "a" * 36, "aaaa"),
        ("glpat-abcdefghij0123456789", "abcdefghij"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n-----END OPENSSH PRIVATE KEY-----", "b3BlbnNzaA"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncut off", "cut off"),
    ],
)
def test_credentials_by_shape_are_gone(text: str, leak: str) -> None:
    assert leak in text
    assert leak not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://git.example.com/team/demo.git at main",
        "https://docs.example.com/?page=2&sort=asc#signature",
        "src/token.py: 12 symbols, 3 secrets of good code",
        "the password is wrong",
        "unexpected token: ident",
        "policy: allow; pwd is /home/x",
        "a@b.example wrote to c@d.example",
        "basic auth failed",
        "def sign(x): return x",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_where_it_happened_stays_readable() -> None:
    assert redact(f"GET {SIGNED}") == f"GET {SIGNED.partition('?')[0]}?{MASK}"
    assert redact("https://u:p@git.example.com/x.git") == f"https://{MASK}@git.example.com/x.git"


@pytest.mark.parametrize("prefix", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("suffix", ["", "z", "zz"])
def test_a_registered_secret_is_gone_in_every_form(prefix: str, suffix: str) -> None:
    scrub = Redactor()
    scrub.register(CANARY)
    whole = prefix + CANARY + suffix
    encoded = base64.b64encode(whole.encode()).decode()
    for form in (whole, quote(whole, safe=""), quote_plus(whole), json.dumps(whole), repr(whole)):
        assert "Canary" not in scrub(f"<{form}>")
    for form in (encoded, base64.urlsafe_b64encode(whole.encode()).decode(), encoded.rstrip("=")):
        shown = scrub(f"<{form}>")
        # What is left decodes to nothing but the neighbours.
        assert len(shown.replace(MASK, "")) < len(form) - 20


@given(st.text(min_size=6, max_size=40).filter(lambda text: len(text.strip()) >= 6 and text.isprintable()))
def test_any_registered_secret_is_gone(secret: str) -> None:
    scrub = Redactor()
    scrub.register(secret)
    assert secret.strip() not in scrub(f"before {secret} after").replace(MASK, "\0")


def test_every_line_of_a_secret_counts_and_short_ones_do_not() -> None:
    scrub = Redactor()
    scrub.register("first-line-of-key\nsecond-line-of-key\nab\n")
    assert scrub("x second-line-of-key y") == f"x {MASK} y"
    assert scrub("about") == "about"
    scrub.register("abc")
    assert scrub("abc") == "abc"


def test_the_process_wide_registry() -> None:
    register_secret("a-value-nobody-else-registers")
    assert redact("got a-value-nobody-else-registers.") == f"got {MASK}."


@pytest.mark.parametrize(
    "unit", ["://", "?", "a", "authorization", "x-amz-", "token=", "%3d", "&", "\\u0026", "-----BEGIN "]
)
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    def cpu_seconds(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.thread_time()
        redact(text)
        return time.thread_time() - start

    # Forty times the text: a quadratic pattern would take 1,600 times as long.
    assert cpu_seconds(200_000) < 400 * cpu_seconds(5_000) + 0.05


def test_a_registered_line_of_a_private_key_does_not_spare_the_rest() -> None:
    first = "-----BEGIN OPENSSH PRIVATE KEY-----"
    redactor = Redactor()
    redactor.register(first)
    assert redactor(f"{first}\nb3BlbnNzaA\n-----END OPENSSH PRIVATE KEY-----") == MASK


def test_secrets_of_an_exchange_are_scrubbed_while_it_lasts_and_no_longer() -> None:
    redactor = Redactor()
    redactor.register("kept-for-good")
    with redactor.scrubbing(["of-this-exchange", "kept-for-good"]):
        assert redactor("of-this-exchange kept-for-good") == "*** ***"
    assert redactor("of-this-exchange kept-for-good") == "of-this-exchange ***"


def test_many_secrets_are_registered_in_linear_time() -> None:
    redactor = Redactor()
    compiled = 0
    compile_ = re.compile

    def counted(*arguments: object) -> object:
        nonlocal compiled
        compiled += 1
        return compile_(*arguments)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as context:
        context.setattr(re, "compile", counted)
        for number in range(300):
            redactor.register(f"token-{number:06d}-abcdefghijklmnop")
        assert redactor("token-000299-abcdefghijklmnop") == "***"
    assert compiled == 1


def test_headers_that_a_host_chose_do_not_blot_out_words() -> None:
    plain = {"Accept": "application/vnd.git-lfs", "X-Note": "src/main.py failed today"}
    assert _credentials(plain) == []
    assert _credentials({"Authorization": "failed"}) == []
    assert _credentials({"Authorization": "Bearer abcdefghijklmnop"}) == ["Bearer abcdefghijklmnop"]
