"""The SQLite store: one writer thread, group commit, one file a table."""
