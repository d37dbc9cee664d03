"""Options: what is accepted, and what is said where it is not."""

import importlib.util
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest

import counterpoint.options as checked
from counterpoint.errors import BadInput, UnknownName
from counterpoint.options import TIMESTEPS, Options, parse_size


@pytest.fixture(scope="module")
def unchecked():
    """The module without the shape checks of the test run: what a user's wrong types meet."""
    spec = importlib.util.spec_from_file_location("unchecked_options", checked.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_defaults_are_the_models_own():
    options = Options()
    assert (options.model, options.seed) == ("small", 0)
    assert options.t is options.tap is options.size is options.size_wh is options.dtype is None


@pytest.mark.parametrize("t", [0, 261, TIMESTEPS - 1, np.int64(5), np.uint8(7)])
def test_time_steps(unchecked, t):
    found = unchecked.Options(t=t).t
    assert found == int(t)
    assert type(found) is int


@pytest.mark.parametrize("t", ["50+150", (50, 150), [50, np.int64(150)], "50+150+50"])
def test_several_time_steps(unchecked, t):
    options = unchecked.Options(t=t)
    assert options.t == options.timesteps == (50, 150)
    assert unchecked.Options(t="50").t == 50
    assert unchecked.Options(t=50).timesteps == (50,)


@pytest.mark.parametrize("t", [-1, TIMESTEPS, 10**9])
def test_time_steps_out_of_range(t):
    with pytest.raises(BadInput, match=f"^expected t from 0 to 999, got {t}$"):
        Options(t=t)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"t": 1.5}, "expected a whole number as t, got 1.5"),
        ({"t": "5.5"}, "expected t as a number or like 50+150, got '5.5'"),
        ({"t": "50,150"}, "expected t as a number or like 50+150, got '50,150'"),
        ({"t": [1, 2.5]}, "expected a whole number as t, got 2.5"),
        ({"t": ()}, "expected t from 0 to 999, got none"),
        ({"t": (50, 1000)}, "expected t from 0 to 999, got 1000"),
        ({"combine": None}, "unknown combine None: "),
        ({"ensemble": 2.0}, "expected a whole number as ensemble, got 2.0"),
        ({"ensemble": 0}, "expected an ensemble of at least 1, got 0"),
        ({"ensemble": -3}, "expected an ensemble of at least 1, got -3"),
        ({"seed": "0"}, "expected a whole number as seed"),
        ({"seed": None}, "expected a whole number as seed, got None"),
        ({"fit": "sqush"}, "unknown fit 'sqush': did you mean 'squash'"),
        ({"fit": 3}, "unknown fit 3: Known: squash, pad, keep"),
        ({"dtype": "float"}, "unknown dtype 'float'"),
        ({"size": 64.5}, "expected a size like 768 or 960x540"),
        ({"size": (64, 32.5)}, "expected a size like 768 or 960x540"),
        ({"size": (1, 2, 3)}, "expected a size like 768 or 960x540"),
        ({"size": {}}, "expected a size like 768 or 960x540"),
    ],
)
def test_wrong_values_and_types_are_one_line(unchecked, given, message):
    with pytest.raises(BadInput) as caught:
        unchecked.Options(**given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_numpy_integers_become_plain_so_that_provenance_stays_json(unchecked):
    options = unchecked.Options(t=np.int64(3), seed=np.int32(4), ensemble=np.uint8(2))
    assert json.loads(json.dumps(asdict(options)))["t"] == 3


@pytest.mark.parametrize(
    ("size", "wh"),
    [
        ("768", (768, 768)),
        ("960x540", (960, 540)),
        ("960X540", (960, 540)),
        (" 64 x 32 ", (64, 32)),
        (64, (64, 64)),
        ((64, 32), (64, 32)),
        ((np.int64(64), 32), (64, 32)),
        (1, (1, 1)),
        (16384, (16384, 16384)),
    ],
)
def test_sizes(unchecked, size, wh):
    assert unchecked.parse_size(size) == wh
    assert Options(size="960x540").size_wh == (960, 540)


@pytest.mark.parametrize("size", ["", "x", "64x", "x64", "1x2x3", "64.5", "big", "0", "-1", "1e3"])
def test_sizes_that_are_none(size):
    with pytest.raises(BadInput, match="^expected a size like 768 or 960x540") as caught:
        Options(size=size)
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize("size", [0, -64, 16385, (64, 0)])
def test_sizes_out_of_range(size):
    with pytest.raises(BadInput, match="sides 1 to 16384"):
        parse_size(size)


def test_but_changes_a_copy_and_checks_it():
    options = Options(seed=1)
    assert options.but(t=5, seed=2) == Options(t=5, seed=2)
    assert options == Options(seed=1)
    with pytest.raises(BadInput, match="expected t from"):
        options.but(t=-1)


@pytest.mark.parametrize(("wrong", "near"), [("timestep", "'t'"), ("ensembel", "'ensemble'")])
def test_an_unknown_option_gives_the_known(wrong, near):
    with pytest.raises(UnknownName, match=f"unknown option '{wrong}'") as caught:
        Options().but(**{wrong: 1})
    assert near.strip("'") in str(caught.value)


def test_is_immutable_and_has_no_positional_options():
    with pytest.raises(AttributeError):
        Options().t = 3
    with pytest.raises(TypeError):
        Options("small")
