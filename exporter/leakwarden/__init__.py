"""leakwarden: a messaging service that cannot leak quietly, and the parts it is made of."""

from leakwarden.version import __version__

__all__ = ["__version__"]
