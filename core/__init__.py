"""archon's core: the program without a face. It imports no textual, rich or typer."""

__version__ = "0.1.0"
