"""Measuring correspondence: data sets, metrics, and protocols stated to the letter.

Every score carries the name of the protocol that made it; figures of different protocols do not
compare.
"""
