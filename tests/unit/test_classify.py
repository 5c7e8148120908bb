"""What a file is: language, test, generated, vendored, and pointers that stand for other content."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.repository.classify import classify
from core.repository.conventions import is_generated, is_test_path, is_vendored
from core.repository.facts import Entry, FileFacts, Skip, SkipReason
from core.repository.languages import canonical, language_of


def _facts(path: str, content: bytes = b"x\n", **entry: object) -> FileFacts:
    facts = classify(
        Entry(path, len(content), 1, 0o100644, **entry),  # type: ignore[arg-type] # keywords of Entry
        content,
        complete=True,
        checksum="sha256:" + "0" * 64,
    )
    assert isinstance(facts, FileFacts)
    return facts


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a.py", "python"),
        ("a.pyi", "python"),
        ("A.PY", "python"),
        ("a.js", "javascript"),
        ("a.jsx", "javascript"),
        ("a.mjs", "javascript"),
        ("a.ts", "typescript"),
        ("a.d.ts", "typescript"),
        ("a.tsx", "tsx"),
        ("A.java", "java"),
        ("a.go", "go"),
        ("a.rs", "rust"),
        ("a.c", "c"),
        ("a.h", "c"),
        ("a.cc", "cpp"),
        ("a.hpp", "cpp"),
        ("a.cs", "csharp"),
        ("a.rb", "ruby"),
        ("Gemfile", "ruby"),
        ("a.php", "php"),
        ("a.sh", "bash"),
        (".bashrc", "bash"),
        ("a.kt", "kotlin"),
        ("a.scala", "scala"),
        ("build.sbt", "scala"),
        ("a.swift", "swift"),
        ("Dockerfile", "dockerfile"),
        ("deploy/Dockerfile.prod", "dockerfile"),
        ("Makefile", "makefile"),
        ("README", "text"),
        ("README.md", "markdown"),
        ("a.txt", "text"),
        ("a.yml", "yaml"),
        ("package.json", "json"),
        ("pyproject.toml", "toml"),
        ("a.ipynb", "jupyter"),
        ("page.xhtml", "html"),
        ("a.csproj", "xml"),
        ("data.csv", "csv"),
        ("a.mm", "objective-cpp"),
        ("noextension", None),
        ("a.unknownext", None),
        ("trailing.", None),
    ],
)
def test_language_by_name(path: str, language: str | None) -> None:
    assert language_of(path) == language
    assert language_of("some/dir.py/" + path) == language


@pytest.mark.parametrize(
    ("content", "language"),
    [
        (b"#!/usr/bin/env python3\n", "python"),
        (b"#!/usr/bin/python3.11 -u\n", "python"),
        (b"#!/bin/sh\n", "bash"),
        (b"#! /bin/bash\n", "bash"),
        (b"#!/usr/bin/env node\n", "javascript"),
        (b"#!/usr/bin/env -S ruby -w\n", "ruby"),
        (b"#!\n", None),
        (b"#!/usr/bin/unheard-of\n", None),
        (b"#!/bin/\xff\n", None),
        (b"# no shebang\n", None),
    ],
)
def test_language_by_shebang(content: bytes, language: str | None) -> None:
    assert language_of("bin/tool", content) == language


def test_a_name_outranks_a_shebang_and_the_repository_outranks_both() -> None:
    assert language_of("a.rb", b"#!/usr/bin/env python3\n") == "ruby"
    assert language_of("a.rb", b"#!/usr/bin/env python3\n", "C++") == "cpp"


@pytest.mark.parametrize(
    ("content", "language"),
    [
        (b"int f(void);\n", "c"),
        (b"struct a { int b; };\n/* a class of its own */\n", "c"),
        (b"#pragma once\nnamespace a { class B; }\n", "cpp"),
        (b"template <typename T>\nstruct A;\n", "cpp"),
        (b"std::string name();\n", "cpp"),
    ],
)
def test_headers_are_c_unless_they_read_like_cpp(content: bytes, language: str) -> None:
    assert language_of("include/a.h", content) == language


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("C++", "cpp"),
        ("C#", "csharp"),
        ("Shell", "bash"),
        ("Jupyter Notebook", "jupyter-notebook"),
        ("TypeScript", "typescript"),
    ],
)
def test_one_spelling(name: str, spelling: str) -> None:
    assert canonical(name) == spelling


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py", "test/a.js", "src/test/java/A.java", "pkg/__tests__/a.js", "spec/a_spec.rb",
        "a_test.go", "a.test.ts", "a.spec.tsx", "test_a.py", "conftest.py", "FooTest.java", "FooTests.cs",
        "TestFoo.java", "FooIT.java", "FooSpec.scala", "a_test.cc", "a_unittest.cc", "a.bats", "tests.py",
        "My.App.Tests/Foo.cs", "testdata/x.json", "e2e/login.ts", "a_spec.rb", "unit-tests/x",
        "test-helpers/a.js",
    ],
)  # fmt: skip
def test_tests_by_convention(path: str) -> None:
    assert is_test_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "a.py", "contest.py", "latest/a.js", "attestation/a.go", "src/testing.md", "protest.go",
        "Contest.java", "greatest.ts", "inspect.rb", "Testament.java.txt", "src/main/java/Attest.java",
        "aspects/x.py", "detest/a",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_test(path: str) -> None:
    assert not is_test_path(path)


@pytest.mark.parametrize(
    ("path", "vendored"),
    [
        ("vendor/a.go", True),
        ("third_party/x/a.c", True),
        ("node_modules/a/index.js", True),
        ("src/_vendor/a.py", True),
        ("web/jquery-3.6.0.min.js", True),
        ("configure", True),
        ("src/vendors.py", False),
        ("vendoring/a.py", False),
        ("reconfigure", False),
    ],
)
def test_vendored_by_convention(path: str, vendored: bool) -> None:
    assert is_vendored(path) is vendored


@pytest.mark.parametrize(
    ("path", "content", "generated"),
    [
        ("a.pb.go", b"", True),
        ("a_pb2.py", b"", True),
        ("Cargo.lock", b"", True),
        ("package-lock.json", b"{}", True),
        ("a.go", b"// Code generated by stringer; DO NOT EDIT.\npackage a\n", True),
        ("a.py", b"# Generated by the protocol buffer compiler.  DO NOT EDIT!\n", True),
        ("a.cs", b"// <auto-generated>\n", True),
        ("a.php", b"/** @generated */\n", True),
        ("a.R", b"# This file was automatically generated by x\n", True),
        ("a.py", b"# Reports are generated here.\n", False),
        ("a.py", b"x\n" * 2000 + b"# Code generated by x. DO NOT EDIT.\n", False),
        ("a.go", b"package a // the generated code\n", False),
    ],
)
def test_generated(path: str, content: bytes, generated: bool) -> None:
    assert is_generated(path, content, language_of(path)) is generated


def test_minified_code_is_generated() -> None:
    minified = b"function a(b){return b+1};" * 400
    assert is_generated("a.js", minified, "javascript")
    assert not is_generated("a.js", minified.replace(b";", b";\n"), "javascript")
    assert not is_generated("a.txt", minified, "text")
    assert not is_generated("a.js", minified[:100], "javascript")


def test_facts_of_text_and_of_binary() -> None:
    text = _facts("src/a.py", b"print('h\xc3\xa9')\n")
    assert (text.language, text.is_binary, text.encoding, text.is_test) == ("python", False, "utf-8", False)
    assert text.checksum == "sha256:" + "0" * 64
    binary = _facts("tests/a.py", b"\0\1\2")
    assert (binary.language, binary.is_binary, binary.encoding, binary.is_test) == (None, True, None, True)
    empty = _facts("a/__init__.py", b"")
    assert (empty.language, empty.is_binary, empty.encoding, empty.size) == ("python", False, "utf-8", 0)


def test_what_the_repository_says_wins() -> None:
    said = _facts("vendor/a.pb.go", language_override="Rust", generated=False, vendored=False)
    assert (said.language, said.is_generated, said.is_vendored) == ("rust", False, False)
    said = _facts("a.go", generated=True, vendored=True)
    assert (said.is_generated, said.is_vendored) == (True, True)


def test_a_beginning_is_classified_like_the_whole() -> None:
    content = b"#!/usr/bin/env python3\n" + "é".encode() * 10_000
    entry = Entry("bin/tool", len(content), 1, 0o100755)
    facts = classify(entry, content[:8192], complete=False, checksum=None)
    assert isinstance(facts, FileFacts)
    assert (facts.language, facts.encoding, facts.checksum) == ("python", "utf-8", None)


def test_lfs_pointers_are_skipped() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    entry = Entry("big.bin", len(pointer), 1, 0o100644)
    skip = classify(entry, pointer, complete=True, checksum=None)
    assert skip == Skip("big.bin", SkipReason.LFS_POINTER)
    assert not SkipReason.LFS_POINTER.is_fault
    about = b"version https://git-lfs.github.com/spec/v1\n" + b"prose " * 500
    assert isinstance(
        classify(Entry("doc", len(about), 1, 0), about, complete=True, checksum=None), FileFacts
    )


def test_every_reason_has_a_sentence() -> None:
    assert all(reason.sentence and isinstance(reason.is_fault, bool) for reason in SkipReason)


def test_importing_is_cheap() -> None:
    script = "import sys, core.repository.classify, core.repository.discover; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"charset_normalizer", "dulwich", "rich", "typer", "textual"} & set(loaded.stdout.split())
