"""An analyzer that misbehaves on files whose content asks for it; runs inside real worker processes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NoReturn

from core.events.record import Analysis
from core.intelligence.base import FileToAnalyze
from core.intelligence.languages import compiled
from core.intelligence.worker import analyze_to_json


def obey(file: FileToAnalyze, deadline_s: float) -> Analysis:
    """Do what the content says; analyze everything else. `pid` and `grammars` answer with the process id
    and the number of grammars loaded as language.
    """
    word, _, rest = file.content.partition(b" ")
    match word:
        case b"segfault":
            ctypes.string_at(0)
        case b"exit":
            os._exit(int(rest))
        case b"hang":
            _hang()
        case b"allocate":
            bytearray(int(rest))
        case b"raise":
            raise ValueError("the content is secret")
        case b"tell-and-hang":
            Path(os.fsdecode(rest)).write_text(str(os.getpid()))
            _hang()
        case b"grammars":
            return analyze_to_json(file, deadline_s)._replace(language=str(compiled.cache_info().currsize))
        case b"pid":
            return analyze_to_json(file, deadline_s)._replace(language=str(os.getpid()))
    return analyze_to_json(file, deadline_s)


def _hang() -> NoReturn:
    """As a parser in an endless loop: C code that keeps the interpreter, so that no Python code can run."""
    sleep = ctypes.PyDLL(None).sleep
    while True:
        sleep(1000)
