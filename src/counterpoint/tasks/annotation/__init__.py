"""Annotation transfer: label one or a few pictures, get the rest."""
