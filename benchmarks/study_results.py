"""What the steps of the study found, and how two figures are compared.

Two figures differ when their 95 per cent intervals do not overlap; else they are called alike.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.backbones.zoo import ZOO

Estimate = dict[str, Any]
Row = dict[str, Any]

TAP = ZOO["small"].tap

METHODS = ("same position", "sift", "small, untrained", "small")


@dataclass(frozen=True)
class Results:
    """What the steps found, by name."""

    steps: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path, weights_sha256: str) -> "Results":
        """Those of these weights; others are of another model and take no part."""
        found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        return cls({k: v for k, v in found.items() if v["weights_sha256"] == weights_sha256})

    def of(self, name: str) -> dict[str, Any]:
        """A step's result; KeyError where it was not run."""
        return self.steps[name]["result"]

    def cells(self, name: str, **fixed: Any) -> list[Row]:
        """A sweep's cells with these settings."""
        found = self.of(name)["cells"]
        return [cell for cell in found if all(cell[key] == v for key, v in fixed.items())]


def figure(estimate: Estimate) -> str:
    interval = estimate["interval"]
    return f"{estimate['value']:.1f} ± {(interval['high'] - interval['low']) / 2:.1f}"


def differ(a: Estimate, b: Estimate) -> int:
    """1: the first is higher, -1: lower, 0: their intervals overlap."""
    if a["interval"]["low"] > b["interval"]["high"]:
        return 1
    return -1 if a["interval"]["high"] < b["interval"]["low"] else 0


WORDS = {1: "above", 0: "like", -1: "below"}


def cub_figure(row: Row) -> Estimate:
    return {"value": row["pck"]["per_point"], "interval": row["pck"]["interval"]}


def main_score(row: Row) -> Row:
    """Under the first protocol, at the threshold that all sets have."""
    return next(one for one in row["scores"] if one["alpha"] == 0.1)
