"""The running service: HTTP, tokens, signals, the periodic loop."""
