"""`counterpoint edit`, on pictures and on videos."""
