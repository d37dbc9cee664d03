"""Results in the formats of other tools: hloc's files, COLMAP's database, vismatch's matcher."""

from counterpoint.interop.colmap import CameraMode, SceneCamera, write_database
from counterpoint.interop.hloc import write_features, write_matches, write_pairs
from counterpoint.interop.matcher import Matcher

__all__ = [
    "CameraMode",
    "Matcher",
    "SceneCamera",
    "write_database",
    "write_features",
    "write_matches",
    "write_pairs",
]
