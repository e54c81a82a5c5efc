"""Messages: what is accepted, how it is stored, how it reaches an inbox."""
