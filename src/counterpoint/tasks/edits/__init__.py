"""Edits of one picture carried to others: what is carried, the warps, the blending."""
