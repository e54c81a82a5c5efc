"""One file a noun: what a request to it does."""
