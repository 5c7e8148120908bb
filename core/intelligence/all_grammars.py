"""Importing this loads every grammar and compiles its query, for the processes forked afterwards to share.

Else the first file of a language waits for it in every process: 0.3 s and 40 MB for all of them.
"""

from __future__ import annotations

from core.intelligence.languages import GRAMMARS, compiled

for language in GRAMMARS:
    compiled(language)
