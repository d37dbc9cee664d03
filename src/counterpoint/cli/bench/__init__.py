"""The commands that measure: `bench` and what reads and prepares its results."""
