"""A matcher that is called as those of vismatch (image-matching-models) are.

Same call, same keys, same meaning; vismatch itself is not needed:

    matcher = Matcher(counterpoint.load("sd21"))
    found = matcher("a.jpg", "b.jpg")
    found["num_inliers"], found["H"], found["inlier_kpts0"]
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterpoint.backbones.base import Backbone
from counterpoint.backbones.keypoints import KeyPointNetwork
from counterpoint.errors import ImageError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import ImageLike, Picture, load_picture, to_unit_floats
from counterpoint.matching.mutual import Metric, mutual_matches
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import Estimate, Robust, estimate
from counterpoint.tasks.scenes.local_features import (
    MAX_KEYPOINTS,
    Detector,
    descriptors,
    detect,
    geometric_options,
)


class Matcher:
    """Finds matches between two pictures and the homography that most agree on.

    Args:
        backbone: a loaded model.
        options: how features are extracted; where they are silent, what suits geometry.
        detector: where features are compared: "sift", "orb", a network from
            `counterpoint.backbones.detectors.load_detector`, or "grid": points of the first picture
            sought among all pixels of the second.
        max_num_keypoints: in each picture.
        metric: of the features.
        ransac_iters: of MAGSAC++.
        ransac_conf: its confidence, 0 to 1.
        ransac_reproj_thresh: its threshold, pixels.

    >>> from counterpoint.backbones import load
    >>> from skimage.data import chelsea
    >>> matcher = Matcher(load("sift"))
    >>> cat = torch.from_numpy(chelsea()).permute(2, 0, 1) / 255
    >>> found = matcher(cat, cat)
    >>> found["num_inliers"] > 100, np.abs(found["H"] - np.eye(3)).max() < 1e-3
    (True, np.True_)
    """

    def __init__(
        self,
        backbone: Backbone,
        options: Options | None = None,
        *,
        detector: Detector | KeyPointNetwork = "sift",
        max_num_keypoints: int = MAX_KEYPOINTS,
        metric: Metric = "cosine",
        ransac_iters: int = 2000,
        ransac_conf: float = 0.995,
        ransac_reproj_thresh: float | int = 3,
    ) -> None:
        self.backbone = backbone
        self.options = geometric_options(backbone.spec, options or Options())
        self.detector: Detector | KeyPointNetwork = detector
        self.max_num_keypoints = max_num_keypoints
        self.metric: Metric = metric
        self.skip_ransac = False
        self.ransac_iters = ransac_iters
        self.ransac_conf = ransac_conf
        self.ransac_reproj_thresh = ransac_reproj_thresh

    @property
    def name(self) -> str:
        """The model's."""
        return self.backbone.spec.name

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self.backbone.device)

    @staticmethod
    def load_image(
        path: str | Path, resize: int | tuple[int, int] | None = None, rot_angle: float | int = 0
    ) -> Tensor:
        """A picture as a tensor (3, rows, columns) from 0 to 1.

        Args:
            path: of the picture.
            resize: (rows, columns), or one number for both.
            rot_angle: counter-clockwise, degrees.
        """
        image = load_picture(path).pil()
        if resize is not None:
            rows, columns = (resize, resize) if isinstance(resize, int) else resize
            image = image.resize((columns, rows), Image.Resampling.BICUBIC)
        if rot_angle:
            image = image.rotate(rot_angle)
        return torch.from_numpy(to_unit_floats(np.asarray(image)))

    def __call__(self, img0: ImageLike, img1: ImageLike) -> dict[str, Any]:
        """Match two pictures.

        Args:
            img0: (3, rows, columns) from 0 to 1 as a tensor or array, a path, or a PIL image.
            img1: the same.

        Returns:
            All points are (x, y) in pixels of the pictures given, float32: ``all_kpts0`` and
            ``all_kpts1`` (N, 2), every key point, ``all_desc0`` and ``all_desc1`` (N, channels);
            ``matched_kpts0`` and ``matched_kpts1`` (M, 2), mutual nearest neighbours, row by row;
            ``matched_confidences`` (M,), 0 to 1; ``H`` (3, 3), from the first picture to the
            second, or None; ``inlier_kpts0`` and ``inlier_kpts1`` (K, 2), the matches it explains;
            ``num_inliers``, K.

        Raises:
            ImageError: a picture that cannot be read.
        """
        pictures = _picture(img0), _picture(img1)
        a, b = self.backbone.extract(list(pictures), self.options)
        first = detect(pictures[0], self.detector, self.max_num_keypoints)
        if self.detector == "grid":
            found = mutual_matches(a, b, first)
            second = found.target_px
        else:
            second = detect(pictures[1], self.detector, self.max_num_keypoints)
            found = mutual_matches(a, b, first, second, metric=self.metric)
        ends = found.source_px.astype(np.float32), found.target_px.astype(np.float32)
        homography, *inliers = self.compute_ransac(*ends)
        return {
            "num_inliers": len(inliers[0]),
            "H": homography,
            "all_kpts0": first.astype(np.float32),
            "all_kpts1": second.astype(np.float32),
            "all_desc0": _sampled(a, first),
            "all_desc1": _sampled(b, second),
            "matched_kpts0": ends[0],
            "matched_kpts1": ends[1],
            "inlier_kpts0": inliers[0],
            "inlier_kpts1": inliers[1],
            "matched_confidences": found.confidence.astype(np.float32),
        }

    forward = __call__

    def compute_ransac(
        self, matched_kpts0: np.ndarray, matched_kpts1: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """The homography of matches (M, 2), or None, and both ends (K, 2) of those it explains."""
        nothing = None, matched_kpts0[:0], matched_kpts1[:0]
        if self.skip_ransac:
            return nothing
        robust = Robust(
            method="magsac",
            threshold_px=float(self.ransac_reproj_thresh),
            confidence=self.ransac_conf,
            max_iterations=self.ransac_iters,
        )
        found = estimate(matched_kpts0, matched_kpts1, "homography", robust)
        if not isinstance(found, Estimate):
            return nothing
        return found.matrix, matched_kpts0[found.inliers], matched_kpts1[found.inliers]

    @staticmethod
    def rescale_coords(
        pts: np.ndarray | Tensor, h_orig: int, w_orig: int, h_new: int, w_new: int
    ) -> np.ndarray:
        """Points (N, 2) of a picture resized to "new", in pixels of the original.

        By this project's rule, with the half pixel; vismatch multiplies by the scale alone.
        """
        return PixelTransform.resize((w_new, h_new), (w_orig, h_orig)).apply(pts)

    def extract(self, img: ImageLike) -> dict[str, np.ndarray]:
        """Key points (N, 2) and descriptors (N, channels) of one picture."""
        picture = _picture(img)
        [fmap] = self.backbone.extract([picture], self.options)
        points = detect(picture, self.detector, self.max_num_keypoints)
        return {"all_kpts0": points.astype(np.float32), "all_desc0": _sampled(fmap, points)}


def _sampled(fmap: FeatureMap, points_px: np.ndarray) -> np.ndarray:
    return descriptors(fmap, points_px).float().cpu().numpy()


def _picture(image: ImageLike) -> Picture:
    """A picture; arrays have their channels first here."""
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.array(image))
    if isinstance(image, Tensor) and (image.ndim != 3 or image.shape[0] not in (1, 3)):
        raise ImageError(f"expected (3, rows, columns) from 0 to 1, got {tuple(image.shape)}")
    return load_picture(image)
