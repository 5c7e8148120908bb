"""The language of a file by its name, its shebang, or what the repository says.

Names are lower case and those of tree-sitter grammars where there is one: `python`, `javascript`,
`typescript`, `tsx`, `java`, `go`, `rust`, `c`, `cpp`, `csharp`, `ruby`, `php`, `bash`, `kotlin`,
`scala`, `swift`; else identify's tag (`markdown`, `yaml`, `json`, …), and `text` for prose.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache

from identify import extensions, identify

_GENERIC = frozenset(["text", "binary", "plain-text", "header", "image"])
_SPELLING = {
    "ash": "bash",
    "c#": "csharp",
    "c++": "cpp",
    "c-sharp": "csharp",
    "cbsd": "bash",
    "cs": "csharp",
    "dash": "bash",
    "f#": "fsharp",
    "golang": "go",
    "javascriptreact": "javascript",
    "js": "javascript",
    "jsx": "javascript",
    "kt": "kotlin",
    "ksh": "bash",
    "objective-c++": "objective-cpp",
    "py": "python",
    "pyi": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "shell": "bash",
    "tcsh": "csh",
    "ts": "typescript",
    "typescriptreact": "tsx",
}
# Where identify gives several tags: the language first, then the notation it is written in.
_PREFERENCE = (
    "c", "objective-c++", "c++", "c#", "f#", "python", "ruby", "php", "scala", "groovy", "clojure",
    "pascal", "bats", "bash", "zsh", "csh", "jupyter", "meson", "html", "svg", "toml", "json", "yaml",
    "ini", "plist", "xml", "shell",
)  # fmt: skip
_CPP_HEADER = re.compile(
    rb"^\s*(?:class|namespace|template|using)\b|\bstd::|^\s*(?:public|private):", re.MULTILINE
)


def is_binary_name(path: str) -> bool:
    """Whether files of this name are binary by convention (`.png`, `.jar`)."""
    return "binary" in identify.tags_from_filename(path)


def language_of(path: str, content: bytes = b"", override: str | None = None) -> str | None:
    """The language of a text file, None if unknown. `content` may be just its first kilobytes.

    `override` is a `linguist-language` and wins. A `.h` file is C unless it reads like C++.
    """
    if override is not None:
        return canonical(override)
    name = path[path.rfind("/") + 1 :]
    language = _by_name(name)
    if language is None:
        return _by_shebang(content) if content.startswith(b"#!") else None
    if language == "c" and name.endswith((".h", ".H")) and _CPP_HEADER.search(content):
        return "cpp"
    return language


def canonical(name: str) -> str:
    """This program's spelling of a language's name: `C++` is `cpp`, `Shell` is `bash`."""
    lowered = name.strip().lower().replace(" ", "-")
    return _SPELLING.get(lowered, lowered)


def _by_name(name: str) -> str | None:
    parts = name.split(".")
    if extensions.NAMES.keys().isdisjoint(parts) and name not in extensions.NAMES:
        return _by_extension(parts[-1].lower()) if len(parts) > 1 else None
    return _chosen(frozenset(identify.tags_from_filename(name)))


@lru_cache(maxsize=4096)
def _by_extension(extension: str) -> str | None:
    return _chosen(frozenset(identify.tags_from_filename("x." + extension)))


def _chosen(tags: frozenset[str]) -> str | None:
    candidates = tags - _GENERIC
    if not candidates:
        return "text" if "text" in tags else None
    preferred = next((tag for tag in _PREFERENCE if tag in candidates), None)
    return canonical(preferred or min(candidates))


def _by_shebang(content: bytes) -> str | None:
    try:
        command = identify.parse_shebang(io.BytesIO(content[:1024]))
    except ValueError:
        return None
    return _chosen(frozenset(identify.tags_from_interpreter(command[0]))) if command else None
