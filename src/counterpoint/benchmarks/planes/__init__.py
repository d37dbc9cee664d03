"""Homographies between pictures of a plane: HPatches."""
