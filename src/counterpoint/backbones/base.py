"""What every backbone is: taps, and pictures to feature maps."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from counterpoint.backbones.noise import NoiseSource
from counterpoint.backbones.spec import ModelSpec
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap, join
from counterpoint.images import ImageLike, Picture
from counterpoint.options import Options
from counterpoint.provenance import Provenance

Place = tuple[int | None, str]
"""Where features were read: time step (None: no noise) and tap."""


@dataclass(frozen=True)
class Tap:
    """A place in a network where features can be read.

    Attributes:
        name: what a person types ("up:1").
        channels: length of the feature vectors.
        stride_px: pixels of the model's input per cell.
    """

    name: str
    channels: int
    stride_px: int


class Backbone(ABC):
    """A model that turns pictures into feature maps.

    Attributes:
        spec: its row of the zoo.
        device: where it runs.
        dtype: in what precision.
        multiple: both sides of the input are padded to a multiple of this.
        micro_batch: forward passes at a time; halves by itself when memory runs out.
    """

    multiple: int = 1

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        download: bool = False,
    ) -> None:
        self._configure(spec, device, dtype)
        self._build(download)

    def _configure(self, spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> None:
        self.spec = spec
        self.device = device
        self.dtype = dtype
        self.micro_batch = 8 if device.type == "cuda" else 4

    def _build(self, download: bool) -> None:  # noqa: B027 (some need nothing)
        """Find the weights and build the network; ``download``: fetch what is not here."""

    @property
    @abstractmethod
    def taps(self) -> tuple[Tap, ...]:
        """Every tap, in the order of the forward pass."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights; empty for models without any."""
        return ""

    def extract(
        self, pictures: Sequence[ImageLike], options: Options | None = None
    ) -> list[FeatureMap]:
        """Feature maps of pictures, in their order; see `Options`.

        Raises:
            ImageError: a picture that cannot be read.
            UnknownName: a tap that the model does not have.
        """
        return list(self.stream(pictures, options))

    def stream(
        self, pictures: Sequence[ImageLike], options: Options | None = None
    ) -> Iterator[FeatureMap]:
        """As `extract`, one map at a time, with only a batch of pictures in memory."""
        options = options or Options()
        tap = options.tap or self.spec.tap
        for maps in self.stream_grid(pictures, tap.split("+"), options):
            yield join(list(maps.values()), options.combine)

    def extract_taps(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],
        options: Options | None = None,
        noise: NoiseSource | None = None,
    ) -> list[dict[str, FeatureMap]]:
        """Several taps of each picture from the same forward passes.

        Args:
            pictures: paths, PIL images, arrays or tensors.
            taps: names, as in `taps`.
            options: the rest; its ``tap`` is not used.
            noise: where draws come from; by default keyed by seed, picture and member.
        """
        return list(self.stream_taps(pictures, taps, options, noise))

    def stream_taps(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],
        options: Options | None = None,
        noise: NoiseSource | None = None,
    ) -> Iterator[dict[str, FeatureMap]]:
        """As `extract_taps`, one picture at a time."""
        options = options or Options()
        for maps in self.stream_grid(pictures, taps, options, noise):
            by_tap: dict[str, list[FeatureMap]] = {}
            for (_, tap), fmap in maps.items():
                by_tap.setdefault(tap, []).append(fmap)
            yield {tap: join(found, options.combine) for tap, found in by_tap.items()}

    @abstractmethod
    def stream_grid(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],
        options: Options | None = None,
        noise: NoiseSource | None = None,
    ) -> Iterator[dict[Place, FeatureMap]]:
        """Every tap at every time step of the options, one picture at a time.

        One forward pass a time step (and draw of noise), whatever the number of taps; the picture
        is encoded once.

        Args:
            pictures: paths, PIL images, arrays or tensors.
            taps: names, as in `taps`.
            options: the rest; its ``tap`` is not used.
            noise: where draws come from; by default keyed by seed, picture and member.

        Yields:
            Maps by (time step, tap), in the order asked for, time steps first.
        """

    @abstractmethod
    def provenance(self, picture: Picture, options: Options) -> Provenance:
        """What `extract` would note for a picture, without running the network."""

    @property
    def dtype_name(self) -> str:
        """The dtype's name ("float32")."""
        return str(self.dtype).removeprefix("torch.")


def check_t(t: int) -> int:
    """The time step, or an error that says the range."""
    Options(t=t)
    return t


def library_version() -> str:
    """Counterpoint's version, for provenance."""
    try:
        return version("counterpoint")
    except PackageNotFoundError:
        return "unknown"


def pick_device(device: str | None) -> torch.device:
    """The named device, or the best there is.

    Raises:
        BadInput: no such device on this machine.
    """
    if device is None:
        cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(1, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"expected a device of this machine, got {device!r}; try cpu") from error
    return picked
