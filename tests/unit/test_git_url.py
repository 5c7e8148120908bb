"""Git URLs, commit ids and ref names from strangers are held to form before anything acts on them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnsafeInput
from core.safety.git_url import authority_of, check_commit, check_ref_name, parse_git_url
from core.safety.url import UrlPolicy

POLICY = UrlPolicy(schemes=frozenset({"https", "ssh"}))
ALL = UrlPolicy(
    schemes=frozenset({"https", "ssh", "http", "git", "file"}), networks=(ip_network("127.0.0.0/8"),)
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://Git.Example.com/team/demo.git", "https://git.example.com/team/demo.git"),
        ("https://git.example.com:443/team/demo/", "https://git.example.com/team/demo"),
        ("https://git.example.com:8443/team/demo", "https://git.example.com:8443/team/demo"),
        ("https://git.example.com/a%20b", "https://git.example.com/a%20b"),
        ("ssh://git@git.example.com/team/demo.git", "ssh://git@git.example.com/team/demo.git"),
        ("ssh://git.example.com:2222/~me/demo.git", "ssh://git.example.com:2222/~me/demo.git"),
        ("git@git.example.com:team/demo.git", "git@git.example.com:team/demo.git"),
        ("git.example.com:/srv/demo.git", "ssh://git.example.com/srv/demo.git"),
        ("git@[2606:4700::1]:demo.git", "git@[2606:4700::1]:demo.git"),
        ("https://[2606:4700::1]/demo.git", "https://[2606:4700::1]/demo.git"),
    ],
)
def test_accepted_urls_have_one_canonical_form(text: str, canonical: str) -> None:
    url = parse_git_url(text, POLICY)
    assert str(url) == canonical
    assert parse_git_url(canonical, POLICY) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "/srv/demo.git",
        "../demo.git",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=touch",
        "ext::sh -c touch%20/tmp/x",
        "ext::sh",
        "fd::17",
        "::x",
        "https::https://git.example.com/x",
        "https://",
        "https:///x",
        "https://git.example.com",
        "https://git.example.com/",
        "https://git.example.com/-x",
        "https://git.example.com/%2dx",
        "https://git.example.com/a/../b",
        "https://git.example.com/a/%2e%2e/b",
        "https://git.example.com/a%00b",
        "https://git.example.com/a%0ab",
        "https://git.example.com/a\x00b",
        "https://git.example.com/a\nb",
        "https://git.example.com/a b",
        "https://git.example.com/x?y=z",
        "https://git.example.com/x?",
        "https://git.example.com/x#y",
        "https://git.example.com\\@evil.example/x",
        "https://" + "a" * 4096 + "/x",
        "https://git.example.com/" + "a" * 4096,
        "http://git.example.com/x",
        "git://git.example.com/x",
        "file:///srv/demo.git",
        "ftp://git.example.com/x",
        "ssh://-oProxyCommand=touch/x",
        "ssh://-oProxyCommand=touch@git.example.com/x",
        "-oProxyCommand=touch:x",
        "git@-oProxyCommand=touch:x",
        "-lroot@git.example.com:x",
        "git@git.example.com:-x",
        "git@git.example.com:--upload-pack=touch",
        "git@git.example.com:a/../../b",
        "git@git.example.com:a%2fb",
        "git@git.example.com:",
        "ssh://git:secret-word@git.example.com/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/x",
        "ssh://git@127.0.0.1/x",
        "git@127.0.0.1:x",
        "git@[::1]:x",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UnsafeInput):
        parse_git_url(text, POLICY)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hidden-word@git.example.com/x",
        "https://hidden-word@git.example.com/x",
        "ssh://git:hidden-word@git.example.com/x",
        "https://oauth2:hidden-word@git.example.com",
    ],
)
def test_userinfo_is_refused_with_a_way_out_and_never_repeated(text: str) -> None:
    with pytest.raises(UnsafeInput) as caught:
        parse_git_url(text, POLICY)
    assert "hidden-word" not in str(caught.value) + str(caught.value.hint)


def test_userinfo_says_where_the_secret_belongs() -> None:
    with pytest.raises(UnsafeInput) as caught:
        parse_git_url("https://x:y@git.example.com/x", POLICY)
    assert "--git-credentials-ref" in str(caught.value.hint)


def test_other_schemes_come_by_setting_only() -> None:
    assert str(parse_git_url("http://127.0.0.1:8000/x", ALL)) == "http://127.0.0.1:8000/x"
    assert str(parse_git_url("git://127.0.0.1/x", ALL)) == "git://127.0.0.1/x"
    assert str(parse_git_url("file:///srv/demo.git", ALL)) == "file:///srv/demo.git"
    for bad in ("file://host/srv/demo.git", "file:///srv/../etc", "file:///", "file:///a%00"):
        with pytest.raises(UnsafeInput):
            parse_git_url(bad, ALL)


def test_a_port_is_part_of_what_credentials_are_for() -> None:
    assert parse_git_url("https://git.example.com/x", POLICY).authority == "git.example.com"
    assert parse_git_url("https://git.example.com:444/x", POLICY).authority == "git.example.com:444"
    assert parse_git_url("git@git.example.com:x", POLICY).authority == "git.example.com"


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser_or_comes_out_changed(text: str) -> None:
    try:
        url = parse_git_url(text, ALL)
    except UnsafeInput:
        return
    assert parse_git_url(str(url), ALL) == url


@given(st.from_regex(r"\A(https|ssh|git)://[^\n]{0,40}\Z"))
def test_what_looks_like_a_url_is_refused_or_stable(text: str) -> None:
    test_no_text_breaks_the_parser_or_comes_out_changed.hypothesis.inner_test(text)  # type: ignore[attr-defined]


def test_commits_are_full_lower_case_hex() -> None:
    assert check_commit("a" * 40) == "a" * 40
    assert check_commit("0" * 64) == "0" * 64
    for bad in ("", "main", "a" * 39, "A" * 40, "a" * 41, "a" * 40 + "\n", "--upload-pack=x", "g" * 40):
        with pytest.raises(UnsafeInput):
            check_commit(bad)


@pytest.mark.parametrize("name", ["main", "feature/x-1", "v1.0", "ünï", "refs/heads/main", "a@b", "deadbeef"])
def test_ref_names_pass(name: str) -> None:
    assert check_ref_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "-x", "--upload-pack=x", "a..b", "a b", "a\0b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[b"),
        *("a\\b", "@", "a@{1}", "/a", "a/", "a//b", "a.", ".a", "a/.b", "a.lock", "a.lock/b", "a/-b"),
        *("x" * 256, "bad\udcff"),
    ],
)
def test_bad_ref_names_are_refused(name: str) -> None:
    with pytest.raises(UnsafeInput):
        check_ref_name(name)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("https://Git.Example/a/b.git", "git.example"),
        ("https://u:p@git.example:8443/a.git", "git.example:8443"),
        ("git@git.example:a/b.git", "git.example"),
        ("ssh://git@git.example:22/a", "git.example:22"),
        ("https://[bad", ""),
        ("", ""),
    ],
)
def test_hosts_are_told_apart_without_being_checked(text: str, authority: str) -> None:
    assert authority_of(text) == authority
