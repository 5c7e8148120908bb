"""Which files of a directory tree do not count: `.gitignore` files and the default exclusions."""

from __future__ import annotations

from dataclasses import dataclass

from core.repository.patterns import LinearPattern, compile_pattern, matches, pattern_lines

DEFAULT_EXCLUSIONS = """
# version control
.git
.hg/
.svn/
.bzr/
.jj/
_darcs/
CVS/
# virtual environments and installed packages
.venv/
venv/
node_modules/
bower_components/
.yarn/cache/
.eggs/
*.egg-info/
# caches
__pycache__/
*.py[cod]
.mypy_cache/
.pytest_cache/
.ruff_cache/
.hypothesis/
.tox/
.nox/
.cache/
.gradle/
.parcel-cache/
.sass-cache/
.terraform/
# build output
build/
dist/
target/
_build/
.next/
.nuxt/
htmlcov/
.coverage
*.o
*.obj
*.class
# minified
*.min.js
*.min.css
*.min.mjs
*.js.map
*.css.map
# left by editors and desktops
*~
.*.sw[a-p]
.DS_Store
Thumbs.db
"""


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The pattern files that apply in one directory, weakest first: where, and patterns last to first.

    Directories are `""` or end in a slash. Git's rules: the last matching line of the nearest file
    decides, and what is inside an ignored directory cannot be brought back (callers do not descend).
    """

    levels: tuple[tuple[str, tuple[LinearPattern, ...]], ...] = ()

    def with_file(self, directory: str, content: bytes) -> IgnoreRules:
        """These rules and, stronger, those of the pattern file `content` in `directory`."""
        patterns = [pattern for line in pattern_lines(content) if (pattern := compile_pattern(line))]
        return IgnoreRules((*self.levels, (directory, tuple(reversed(patterns))))) if patterns else self

    def ignored(self, path: str) -> bool:
        """Whether `path`, below the last level's directory, is ignored; directories end in a slash."""
        for directory, patterns in reversed(self.levels):
            below = path[len(directory) :]
            for pattern in patterns:
                if matches(pattern, below):
                    return bool(pattern.include)
        return False
