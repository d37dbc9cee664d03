"""`counterpoint track`: what can be marked, what is shown."""
