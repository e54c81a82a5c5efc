"""`python -m leakwarden` and the `leakwarden` command."""

from __future__ import annotations


def main() -> int:
    """Placeholder until the command line lands."""
    return 0
