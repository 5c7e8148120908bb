"""Which languages are known: their names, how they write comments, and the grammars there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files

from tree_sitter import Language, Parser, Query


@dataclass(frozen=True, slots=True)
class Comments:
    """How a language marks comments: to the end of the line, and between two delimiters."""

    line: tuple[bytes, ...] = ()
    block: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """A tree-sitter grammar and what its query cannot say.

    `entry` is the function of `package` that returns the grammar; `queries` are the files of
    `queries/` that make its query. A comment above a definition documents it if it starts with one
    of `documentation` (empty: none does). `import_calls` are functions whose first argument is an import.
    """

    package: str
    queries: tuple[str, ...]
    entry: str = "language"
    documentation: tuple[bytes, ...] = (b"/**",)
    import_calls: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A grammar ready for use in this process; not to be shared by threads.

    `errors` finds what the grammar did not understand; `name_field` is its number of the field `name`.
    """

    grammar: Grammar
    parser: Parser
    query: Query
    errors: Query
    name_field: int


# Kept apart from the languages' own queries: looking for what is missing slows every step.
_ERRORS = "(ERROR) @error (MISSING) @error"

_C = Comments((b"//",), ((b"/*", b"*/"),))
_HASH = Comments((b"#",))
_DASHES = Comments((b"--",), ((b"{-", b"-}"),))
_MARKUP = Comments((), ((b"<!--", b"-->"),))
_TRIPLE_SLASH = (b"///", b"//!", b"/**", b"/*!")

GRAMMARS: Mapping[str, Grammar] = {
    "bash": Grammar(
        "tree_sitter_bash", ("bash",), documentation=(b"#",), import_calls=frozenset({b"source", b"."})
    ),
    "c": Grammar("tree_sitter_c", ("c",), documentation=(b"/*", b"//")),
    "cpp": Grammar("tree_sitter_cpp", ("c", "cpp"), documentation=(b"/*", b"//")),
    "csharp": Grammar("tree_sitter_c_sharp", ("csharp",), documentation=(b"///", b"/**")),
    "go": Grammar("tree_sitter_go", ("go",), documentation=(b"//", b"/*")),
    "java": Grammar("tree_sitter_java", ("java",), documentation=(b"/**", b"///")),
    "javascript": Grammar(
        "tree_sitter_javascript",
        ("ecmascript", "javascript"),
        import_calls=frozenset({b"require", b"import"}),
    ),
    "kotlin": Grammar("tree_sitter_kotlin", ("kotlin",)),
    "php": Grammar("tree_sitter_php", ("php",), entry="language_php"),
    "python": Grammar("tree_sitter_python", ("python",), documentation=()),
    "ruby": Grammar(
        "tree_sitter_ruby",
        ("ruby",),
        documentation=(b"#", b"=begin"),
        import_calls=frozenset({b"require", b"require_relative", b"load"}),
    ),
    "rust": Grammar("tree_sitter_rust", ("rust",), documentation=_TRIPLE_SLASH),
    "scala": Grammar("tree_sitter_scala", ("scala",)),
    "swift": Grammar("tree_sitter_swift", ("swift",), documentation=(b"///", b"/**")),
    "tsx": Grammar(
        "tree_sitter_typescript",
        ("ecmascript", "typescript"),
        entry="language_tsx",
        import_calls=frozenset({b"require", b"import"}),
    ),
    "typescript": Grammar(
        "tree_sitter_typescript",
        ("ecmascript", "typescript"),
        entry="language_typescript",
        import_calls=frozenset({b"require", b"import"}),
    ),
}

# Comment syntax of languages without a grammar; those with one find comments in the tree.
COMMENTS: Mapping[str, Comments] = {
    "asm": Comments((b";", b"#", b"//"), ((b"/*", b"*/"),)),
    "astro": _MARKUP,
    "batch": Comments((b"::", b"REM ", b"rem ", b"@REM ", b"@rem ")),
    "bats": _HASH,
    "bazel": _HASH,
    "bib": Comments((b"%",)),
    "clojure": Comments((b";",)),
    "cmake": Comments((b"#",), ((b"#[[", b"]]"),)),
    "coffee": Comments((b"#",), ((b"###", b"###"),)),
    "crystal": _HASH,
    "csh": _HASH,
    "css": Comments((), ((b"/*", b"*/"),)),
    "csv": Comments(),
    "cuda": _C,
    "cue": Comments((b"//",)),
    "cython": _HASH,
    "dart": _C,
    "dockerfile": _HASH,
    "dockerignore": _HASH,
    "dotenv": _HASH,
    "dtd": _MARKUP,
    "editorconfig": Comments((b"#", b";")),
    "elixir": _HASH,
    "elm": _DASHES,
    "erlang": Comments((b"%",)),
    "fish": _HASH,
    "fortran": Comments((b"!",)),
    "fsharp": Comments((b"//",), ((b"(*", b"*)"),)),
    "gdscript": _HASH,
    "gherkin": _HASH,
    "gitattributes": _HASH,
    "gitignore": _HASH,
    "gitmodules": Comments((b"#", b";")),
    "gleam": Comments((b"//",)),
    "go-mod": Comments((b"//",)),
    "graphql": _HASH,
    "groovy": _C,
    "haskell": _DASHES,
    "hcl": Comments((b"#", b"//"), ((b"/*", b"*/"),)),
    "hlsl": _C,
    "html": _MARKUP,
    "ini": Comments((b";", b"#")),
    "java-properties": Comments((b"#", b"!")),
    "json": Comments(),
    "json5": _C,
    "jsonnet": Comments((b"//", b"#"), ((b"/*", b"*/"),)),
    "julia": Comments((b"#",), ((b"#=", b"=#"),)),
    "less": _C,
    "lua": Comments((b"--",), ((b"--[[", b"]]"),)),
    "makefile": _HASH,
    "markdown": _MARKUP,
    "meson": _HASH,
    "metal": _C,
    "nim": Comments((b"#",), ((b"#[", b"]#"),)),
    "nix": Comments((b"#",), ((b"/*", b"*/"),)),
    "npmignore": _HASH,
    "nushell": _HASH,
    "objective-c": _C,
    "objective-cpp": _C,
    "ocaml": Comments((), ((b"(*", b"*)"),)),
    "pascal": Comments((b"//",), ((b"{", b"}"), (b"(*", b"*)"))),
    "perl": Comments((b"#",), ((b"=pod", b"=cut"), (b"=head", b"=cut"))),
    "powershell": Comments((b"#",), ((b"<#", b"#>"),)),
    "prisma": Comments((b"//",)),
    "proto": _C,
    "puppet": _HASH,
    "purescript": _DASHES,
    "qml": _C,
    "r": _HASH,
    "robot": _HASH,
    "sass": _C,
    "scheme": Comments((b";",), ((b"#|", b"|#"),)),
    "scss": _C,
    "solidity": _C,
    "sql": Comments((b"--",), ((b"/*", b"*/"),)),
    "stylus": _C,
    "svelte": _MARKUP,
    "svg": _MARKUP,
    "system-verilog": _C,
    "terraform": Comments((b"#", b"//"), ((b"/*", b"*/"),)),
    "tex": Comments((b"%",)),
    "textproto": _HASH,
    "thrift": Comments((b"//", b"#"), ((b"/*", b"*/"),)),
    "toml": _HASH,
    "tsv": Comments(),
    "vala": _C,
    "vb": Comments((b"'",)),
    "verilog": _C,
    "vhdl": Comments((b"--",)),
    "vim": Comments((b'"',)),
    "vue": _MARKUP,
    "xml": _MARKUP,
    "yaml": _HASH,
    "zig": Comments((b"//",)),
    "zsh": _HASH,
}


@cache
def compiled(language: str) -> Compiled | None:
    """The parser and query of `language`, loaded once per process; None where there is no grammar."""
    grammar = GRAMMARS.get(language)
    if grammar is None:
        return None
    module = import_module(grammar.package)
    handle = Language(getattr(module, grammar.entry)())
    return Compiled(
        grammar,
        Parser(handle),
        Query(handle, query_source(grammar)),
        Query(handle, _ERRORS),
        handle.field_id_for_name("name") or 0,
    )


def query_source(grammar: Grammar) -> str:
    """The text of a grammar's query."""
    folder = files("core.intelligence") / "queries"
    return "\n".join((folder / f"{name}.scm").read_text("utf-8") for name in grammar.queries)
