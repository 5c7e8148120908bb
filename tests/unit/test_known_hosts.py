"""known_hosts by the rules of sshd(8), compared with what `ssh-keygen -F` finds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from core.errors import ConfigurationError
from core.git.errors import HostKeyMismatch
from core.git.known_hosts import pinned_keys


def made(kind: str = "ed25519") -> paramiko.PKey:
    return paramiko.RSAKey.generate(2048) if kind == "rsa" else paramiko.ECDSAKey.generate()


OLD, NEW, RSA = made(), made(), made("rsa")


def line(names: str, key: paramiko.PKey = OLD, marker: str = "") -> str:
    return f"{marker} {names} {key.get_name()} {key.get_base64()} a comment\n".lstrip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


MATCHES = [
    ("git.example.com", "git.example.com", 22, True),
    ("GIT.example.com", "git.example.com", 22, True),
    ("git.example.com", "git.example.com", 2222, False),
    ("[git.example.com]:2222", "git.example.com", 2222, True),
    ("[git.example.com]:2222", "git.example.com", 22, False),
    ("[g]it.example.com", "git.example.com", 22, False),
    ("a.example.com,git.example.com", "git.example.com", 22, True),
    ("*.example.com", "git.example.com", 22, True),
    ("*.example.com", "example.com", 22, False),
    ("[*.example.com]:2222", "git.example.com", 2222, True),
    ("gi?.example.com", "git.example.com", 22, True),
    ("gi?.example.com", "gi.example.com", 22, False),
    ("*.example.com,!git.example.com", "git.example.com", 22, False),
    ("!git.example.com,*.example.com", "git.example.com", 22, False),
    ("!git.example.com,*.example.com", "other.example.com", 22, True),
    ("!git.example.com", "other.example.com", 22, False),
    ("*", "git.example.com", 22, True),
    ("|1|bad", "git.example.com", 22, False),
]


@pytest.mark.parametrize(("names", "host", "port", "found"), MATCHES)
def test_which_lines_are_about_a_host(file: Path, names: str, host: str, port: int, found: bool) -> None:
    file.write_text(line(names))
    name = host if port == 22 else f"[{host}]:{port}"
    asked = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, check=False)
    assert (OLD.get_base64().encode() in asked.stdout) is found, "OpenSSH itself thinks otherwise"
    if found:
        assert pinned_keys(file, host, port).accepted == (OLD,)
    else:
        with pytest.raises(HostKeyMismatch):
            pinned_keys(file, host, port)


@pytest.mark.parametrize(("host", "port"), [("git.example.com", 22), ("git.example.com", 2222)])
def test_hashed_names(file: Path, host: str, port: int) -> None:
    file.write_text(line("git.example.com" if port == 22 else "[git.example.com]:2222"))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "example" not in file.read_text()
    assert pinned_keys(file, host, port).allows(OLD)
    with pytest.raises(HostKeyMismatch):
        pinned_keys(file, "other.example.com", port)


def test_several_keys_of_one_type_and_of_others(file: Path) -> None:
    file.write_text(f"# keys\n\n{line('h', OLD)}{line('h', NEW)}  {line('*', RSA)}")
    pinned = pinned_keys(file, "h", 22)
    assert pinned.allows(OLD)
    assert pinned.allows(NEW)
    assert pinned.types == {OLD.get_name(), "ssh-rsa"}
    assert not pinned.allows(made())


def test_a_revoked_key_is_not_allowed_wherever_its_line_is(file: Path) -> None:
    for text in (
        line("*", OLD, "@revoked") + line("h", OLD) + line("h", NEW),
        line("h", OLD) + line("h", NEW) + line("h", OLD, "@revoked"),
    ):
        file.write_text(text)
        pinned = pinned_keys(file, "h", 22)
        assert not pinned.allows(OLD)
        assert pinned.allows(NEW)
    file.write_text(line("other", OLD, "@revoked") + line("h", OLD))
    assert pinned_keys(file, "h", 22).allows(OLD)


def test_a_certificate_authority_pins_nothing_and_is_refused_clearly(file: Path) -> None:
    file.write_text(line("*.example.com", OLD, "@cert-authority"))
    with pytest.raises(ConfigurationError, match="host certificates are not supported"):
        pinned_keys(file, "git.example.com", 22)
    file.write_text(line("*.example.com", OLD, "@cert-authority") + line("git.example.com", NEW))
    pinned = pinned_keys(file, "git.example.com", 22)
    assert pinned.allows(NEW)
    assert not pinned.allows(OLD)


@pytest.mark.parametrize("text", ["h ssh-rsa !!!!\n", "h ssh-rsa AAAA\n", "@new h ssh-rsa AAAA\n"])
def test_a_line_that_cannot_be_read_is_named(file: Path, text: str) -> None:
    file.write_text("# first\n" + text)
    with pytest.raises(ConfigurationError, match="line 2"):
        pinned_keys(file, "h", 22)


def test_lines_of_other_hosts_do_not_matter(file: Path) -> None:
    file.write_text("x ssh-rsa !!!!\nh ssh-dss AAAA\nh\n" + line("h"))
    assert pinned_keys(file, "h", 22).accepted == (OLD,)
