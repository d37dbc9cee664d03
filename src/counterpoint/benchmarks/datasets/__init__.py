"""Readers of data sets in their original layouts: strict, lazy, no download."""
