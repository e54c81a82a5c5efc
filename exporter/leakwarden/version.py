"""The version, in one place: the build, `--version` and `build_info` read it here."""

__version__ = "0.1.0"
