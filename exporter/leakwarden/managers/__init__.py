"""What is held: each manager owns one ledger and knows how its kind is opened and closed."""
