"""The recipe that trains the embedded model: a diffusion network that only learns to denoise."""

from counterpoint.training.config import PRESETS, TrainConfig, preset
from counterpoint.training.figures import denoising_grid, draw_curve
from counterpoint.training.pictures import PackedPictures, load_packed
from counterpoint.training.recipe import Diverged, OnProgress, Report, Score, train

__all__ = [
    "PRESETS",
    "Diverged",
    "OnProgress",
    "PackedPictures",
    "Report",
    "Score",
    "TrainConfig",
    "denoising_grid",
    "draw_curve",
    "load_packed",
    "preset",
    "train",
]
