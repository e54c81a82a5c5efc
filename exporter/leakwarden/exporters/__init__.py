"""Wire formats over one catalog of metrics, read from one snapshot."""
