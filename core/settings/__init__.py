"""One typed `Settings`: flag > environment > archon.toml > default."""

from core.settings.model import Settings, load

__all__ = ["Settings", "load"]
