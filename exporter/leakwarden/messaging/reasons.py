"""Why a delivery fails: a closed set, for the store, for people and for the label `reason`."""

REASONS = (
    "io",
    "no_space",
    "file_limit",
    "buffer_limit",
    "unsafe_path",
    "too_large",
    "unknown_agent",
    "unformattable",
    "internal",
)
# Trying again cannot help: the message itself is the cause.
PERMANENT = frozenset({"too_large", "unknown_agent", "unformattable"})
