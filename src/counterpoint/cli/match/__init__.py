"""`counterpoint match`, and what it shows."""
