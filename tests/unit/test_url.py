"""URLs from strangers are held to scheme, origin and address; nothing slips past by spelling."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BackendUnavailable, UnsafeInput
from core.safety.url import UrlPolicy, origin_of

BUCKET = "https://demo.s3.us-east-1.amazonaws.com/"
POLICY = UrlPolicy(prefixes=(BUCKET, "https://minio.example.com:9000/content/"))
ANY = UrlPolicy()


@pytest.mark.parametrize(
    "url",
    [
        BUCKET + "projects/a/b.c?X-Amz-Signature=1",
        "HTTPS://DEMO.s3.us-east-1.amazonaws.com:443/x",
        "https://minio.example.com:9000/content/projects/x",
    ],
)
def test_allowed_origins_pass(url: str) -> None:
    assert POLICY.check(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        "http://demo.s3.us-east-1.amazonaws.com/x",
        "file:///etc/passwd",
        "ftp://demo.s3.us-east-1.amazonaws.com/x",
        "//demo.s3.us-east-1.amazonaws.com/x",
        "demo.s3.us-east-1.amazonaws.com/x",
        "https:demo.s3.us-east-1.amazonaws.com/x",
        "https:///x",
        "https://",
        "",
        "https://demo.s3.us-east-1.amazonaws.com.evil.example/x",
        "https://evil.example/demo.s3.us-east-1.amazonaws.com/",
        "https://demo.s3.us-east-1.amazonaws.com@evil.example/x",
        "https://evil.example#@demo.s3.us-east-1.amazonaws.com/x",
        "https://evil.example\\@demo.s3.us-east-1.amazonaws.com/x",
        "https://evil.example\\.demo.s3.us-east-1.amazonaws.com/x",
        "https://demo.s3.us-east-1.amazonaws.com:8443/x",
        "https://demo.s3.us-east-1.amazonaws.com:0/x",
        "https://demo.s3.us-east-1.amazonaws.com:99999/x",
        "https://demo.s3.us-east-1.amazonaws.com:/x\n",
        "https://demo.s3.us-east-1.amazonaws.com/x\r\nHost: evil.example",
        "https://demo.s3.us-east-1.amazonaws.com/x#fragment",
        "https://demo.s3.us-east-1.amazonaws.com/ x",
        "https://dеmo.s3.us-east-1.amazonaws.com/x",  # a Cyrillic letter
        "https://minio.example.com:9000/other/x",
        "https://minio.example.com:9000/contents",
        "https://minio.example.com:9000/content/../other/x",
        "https://minio.example.com:9000/content/%2e%2e/other/x",
        "https://minio.example.com:9000/content/%2E./other/x",
        "https://minio.example.com:9000/content/..%2fother/x",
        "https://minio.example.com:9000/content/..%5cother/x",
        BUCKET + "x" * 8192,
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(UnsafeInput):
        POLICY.check(url)


def test_nothing_is_allowed_where_nothing_is_configured() -> None:
    with pytest.raises(UnsafeInput, match="allowed origins"):
        UrlPolicy(prefixes=()).check("https://example.com/x")


NOT_PUBLIC = """
127.0.0.1 127.255.255.254 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 0.0.0.0 0.1.2.3 100.64.0.1
100.100.100.200 169.254.169.254 192.0.0.192 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1
192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::127.0.0.1
64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::1 2002:7f00:1:: 2002:a9fe:a9fe::1 2002:c0a8:101::1
2001::1 2001:db8::1 2001:10::1 fc00::1 fd00:ec2::254 fd12::1 fe80::1 fec0::1 ff02::1 100::1 5f00::1
3fff::1 4000::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(UnsafeInput, match="not public"):
        ANY.check_address(address)
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(UnsafeInput):
        ANY.check(f"https://{literal}/latest/meta-data/")


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "52.216.0.1",
        "2600:1f18::1",
        "2a00:1450::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
        "2002:808:808::",
    ],
)
def test_public_addresses_pass(address: str) -> None:
    ANY.check_address(address)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_ipv4_inside_ipv6_is_judged_like_ipv4(address: IPv4Address) -> None:
    def allowed(candidate: IPv4Address | IPv6Address) -> bool:
        try:
            ANY.check_address(candidate)
        except UnsafeInput:
            return False
        return True

    number = int(address)
    mapped = IPv6Address((0xFFFF << 32) | number)
    nat64 = IPv6Address((0x64FF9B << 96) | number)
    six_to_four = IPv6Address((0x2002 << 112) | (number << 80))
    assert {allowed(mapped), allowed(nat64), allowed(six_to_four)} == {allowed(address)}
    assert not (allowed(address) and not address.is_global)


def test_configuration_opens_a_network_and_no_more() -> None:
    policy = UrlPolicy(networks=(ip_network("127.0.0.0/8"), ip_network("10.2.0.0/16")))
    policy.check_address("127.0.0.1")
    policy.check_address("::ffff:10.2.0.1")
    for address in ("10.3.0.1", "192.168.0.1", "::1"):
        with pytest.raises(UnsafeInput):
            policy.check_address(address)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "0.0.0.9", "::ffff:169.254.169.254", "100.100.100.200"]
)
def test_no_configuration_opens_the_metadata_service(address: str) -> None:
    everything = UrlPolicy(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    everything.check_address("10.0.0.1")
    with pytest.raises(UnsafeInput):
        everything.check_address(address)


def resolving(*addresses: str) -> UrlPolicy:
    def lookup(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("bucket.example", 443)
        return addresses

    return UrlPolicy(lookup=lookup)


def test_every_address_of_a_name_is_checked() -> None:
    assert list(map(str, resolving("8.8.8.8", "8.8.4.4", "8.8.8.8").resolve("bucket.example", 443))) == [
        "8.8.8.8",
        "8.8.4.4",
    ]
    for mixed in (("8.8.8.8", "127.0.0.1"), ("169.254.169.254",), ("2600::1", "fe80::1%eth0")):
        with pytest.raises(UnsafeInput, match=r"bucket\.example has the address"):
            resolving(*mixed).resolve("bucket.example", 443)


def test_a_name_without_address_may_be_tried_again() -> None:
    with pytest.raises(BackendUnavailable, match=r"bucket\.example cannot be resolved"):
        resolving().resolve("bucket.example", 443)
    with pytest.raises(BackendUnavailable):
        ANY.resolve("name.invalid", 443)


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost"])
def test_other_spellings_of_loopback_are_caught_on_resolution(spelling: str) -> None:
    ANY.check(f"https://{spelling}/")
    with pytest.raises(UnsafeInput, match="not public"):
        ANY.resolve(spelling, 443)


def test_a_refusal_repeats_no_signature() -> None:
    with pytest.raises(UnsafeInput) as caught:
        POLICY.check("https://evil.example/x?X-Amz-Signature=deadbeef")
    assert "deadbeef" not in str(caught.value)
    with pytest.raises(UnsafeInput) as caught:
        POLICY.check("https://user:hunter2@evil.example/x")
    assert "hunter2" not in str(caught.value)


def test_origin() -> None:
    assert origin_of("HTTPS://Example.com:443/x") == "https://example.com"
    assert origin_of("http://[::1]:9000/x") == "http://[::1]:9000"


@given(st.text(max_size=60))
def test_any_text_is_refused_or_parsed(text: str) -> None:
    try:
        POLICY.check(text)
    except UnsafeInput:
        return
    assert text.lower().startswith(("https://demo.s3.", "https://minio."))
