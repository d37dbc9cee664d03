"""Masks, joints and points carried through videos: DAVIS, JHMDB, TAP-Vid, BADJA."""
