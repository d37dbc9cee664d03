"""Pairs of pictures with key points: predictions, and their scoring under every protocol."""
