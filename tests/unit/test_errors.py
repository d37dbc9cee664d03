"""Errors: their tree, their one line, and their way home from a worker."""

import copy
import pickle

import pytest

from counterpoint import errors
from counterpoint.errors import (
    BadInput,
    CounterpointError,
    FeatureFileError,
    ImageError,
    MissingExtra,
    MissingWeights,
    ModelError,
    PointError,
    StorageError,
    UnknownName,
    WeightsMismatch,
)

PLAIN = [
    CounterpointError,
    BadInput,
    ImageError,
    PointError,
    ModelError,
    MissingWeights,
    WeightsMismatch,
    StorageError,
    FeatureFileError,
]
EVERY = [
    *(kind("what came; what to do") for kind in PLAIN),
    UnknownName("model", "smal", ["small", "sd21"]),
    MissingExtra("sd", "Stable Diffusion backbones"),
]


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        (BadInput, (CounterpointError, ValueError)),
        (ImageError, (BadInput,)),
        (PointError, (BadInput,)),
        (UnknownName, (BadInput,)),
        (ModelError, (CounterpointError, RuntimeError)),
        (MissingWeights, (ModelError,)),
        (WeightsMismatch, (ModelError,)),
        (MissingExtra, (CounterpointError, ImportError)),
        (StorageError, (CounterpointError, OSError)),
        (FeatureFileError, (StorageError,)),
    ],
)
def test_tree(kind, parents):
    assert all(issubclass(kind, parent) for parent in parents)


def test_every_error_of_the_module_is_tested_and_drawn_in_its_docstring():
    kinds = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert kinds == {type(error) for error in EVERY}
    assert all(kind.__name__ in errors.__doc__ for kind in kinds)


@pytest.mark.parametrize("error", EVERY, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_survives_pickling_as_between_worker_processes(error, again):
    back = again(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert "\n" not in str(back)
    assert back.args == error.args


def test_notes_survive_pickling():
    error = ImageError("cut off")
    error.add_note("in shard 3")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["in shard 3"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smal", "did you mean 'small'? "),
        ("sd2", "did you mean 'sd21'"),
        ("zzzz", "unknown model 'zzzz': Known: small, sd21"),
        ("", "unknown model '': Known: small, sd21"),
        (7, "unknown model 7: Known: small, sd21"),
    ],
)
def test_unknown_name_gives_the_nearest(name, hint):
    assert hint in str(UnknownName("model", name, iter(["small", "sd21"])))


def test_missing_extra_says_what_to_install():
    assert "pip install 'counterpoint[sd]'" in str(MissingExtra("sd", "Stable Diffusion backbones"))
