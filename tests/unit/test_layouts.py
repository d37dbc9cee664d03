"""What is known of networks without their weights: the table in the package, and folders."""

import json
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
from backbones import describe
from hollow import hollow

from counterpoint.backbones import load, load_spec
from counterpoint.backbones.layouts import NetworkLayout, TapLayout, grids, layout_of, published
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.cli.app import main
from counterpoint.errors import MissingWeights, UnknownName
from counterpoint.options import Options
from support.models import WRITERS

# A quick row of each family.
ROWS = {
    "small": "small",
    "stable-diffusion": "sd15",
    "sdxl": "sdxl-turbo",
    "cleandift": "cleandift-sd15",
    "vae": "vae",
    "adm": "adm",
    "sd3": "sd3",
    "flux": "flux-schnell",
    "pixart": "pixart",
    "vit": "dinov2-vits14-reg",
    "rgb": "rgb",
    "sift": "sift",
}


SD21 = 865_910_724 + 83_653_863
"""Parameters of Stable Diffusion 2.1's U-Net and VAE."""


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def taps_of(layout) -> list[tuple[str, int, int]]:
    return [(tap.name, tap.channels, tap.stride_px) for tap in layout.taps]


def test_the_table_has_every_model_and_no_other():
    assert list(published()) == list(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_every_model_is_known_without_weights(name):
    layout = layout_of(ZOO[name])
    assert layout.tap == ZOO[name].tap
    assert layout.tap in [tap.name for tap in layout.taps]
    assert len({tap.name for tap in layout.taps}) == len(layout.taps)
    assert layout.multiple >= 1
    weightless = ZOO[name].family in ("rgb", "sift")
    assert weightless == (layout.parameters == 0)
    assert 0 <= layout.kept <= layout.parameters


def test_every_family_has_a_row_here():
    assert set(ROWS) == {row.family for row in ZOO.values()}
    assert all(ZOO[name].family == family for family, name in ROWS.items())


@pytest.mark.parametrize("family", ROWS)
def test_the_table_says_what_the_network_of_full_size_says(family, tmp_path):
    table = json.loads(files("counterpoint.backbones").joinpath("layouts.json").read_text())
    name = ROWS[family]
    assert describe(name, tmp_path / "hollow").entry == table[name]


def test_a_hollow_checkpoint_is_large_only_by_name(tmp_path):
    hollow("sd15", tmp_path / "sd15")
    weights = list(tmp_path.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) > 1.8e9  # 943 million in bfloat16
    assert sum(path.stat().st_blocks * 512 for path in weights) < 2e6


def test_features_of_a_hollow_checkpoint_hold_what_the_table_says(tmp_path, photo):
    spec = hollow("dinov2-vits14", tmp_path)
    model = load_spec(spec, torch.device("cpu"), torch.bfloat16)
    [fmap] = model.extract([photo], Options(size=112))
    assert model.held_parameters() == published()["dinov2-vits14"].kept
    assert tuple(fmap.values.shape) == (384, 8, 8)


@pytest.mark.parametrize("name", WRITERS)
def test_tiny_folders_describe_themselves(name, tmp_path):
    path = str(WRITERS[name](tmp_path))
    model = load(path, device="cpu")
    layout = layout_of(spec_of(path))
    assert taps_of(layout) == taps_of(model)
    assert (layout.multiple, layout.tap) == (model.multiple, model.spec.tap)


def test_what_is_nowhere_is_missing():
    with pytest.raises(MissingWeights, match="the weights of someone/something are not on"):
        layout_of(spec_of("someone/something"))


def test_a_hub_id_of_a_known_model_is_known():
    layout = layout_of(spec_of("stabilityai/sdxl-turbo"))
    assert layout == published()["sdxl-turbo"]


@pytest.mark.parametrize(
    ("multiple", "size_wh", "padded_wh"),
    [(8, (768, 768), (768, 768)), (14, (200, 100), (210, 112)), (1, (3, 5), (3, 5))],
)
def test_sizes_are_padded_to_whole_multiples(multiple, size_wh, padded_wh):
    layout = NetworkLayout((), multiple, "")
    assert layout.padded(size_wh) == padded_wh


def test_a_grid_has_a_cell_for_every_stride_begun():
    assert TapLayout("up:0", 8, 16).grid((200, 104)) == (13, 7)


@pytest.mark.parametrize("name", ["tiny-sd", "tiny-adm", "tiny-dinov2-reg", "tiny-flux"])
def test_grids_are_those_of_features(name, tmp_path, photo):
    path = str(WRITERS[name](tmp_path))
    model = load(path, device="cpu")
    found = grids(spec_of(path), (100, 72))
    names = [grid.tap.name for grid in found]
    [maps] = model.extract_taps([photo], names, Options(size="100x72", fit="pad", ensemble=1))
    assert [(g.cells_wh, g.input_wh) for g in found] == [
        (maps[name].grid_wh, maps[name].input_wh) for name in names
    ]


def test_a_fusion_is_both_models_on_the_finer_grid(photo):
    fused = spec_of("small+sift@0.3")
    model = load("small+sift@0.3", device="cpu")
    layout = layout_of(fused)
    small, sift = published()["small"], published()["sift"]
    assert [tap[:2] for tap in taps_of(layout)] == [tap[:2] for tap in taps_of(model)]
    assert layout.multiple == model.multiple
    assert layout.tap == f"{small.tap},{sift.tap}"
    for size in (None, (200, 100)):
        options = Options(ensemble=1, size=size)
        names = [tap.name for tap in layout.taps]
        [maps] = model.extract_taps([photo], names, options)
        for grid in grids(fused, size):
            fmap = maps[grid.tap.name]
            assert (grid.cells_wh, grid.input_wh) == (fmap.grid_wh, fmap.input_wh)
            assert grid.tap.channels == fmap.values.shape[0]


def test_a_fusions_sizes_are_both_models():
    both, sd21, dino = (layout_of(spec_of(n)) for n in ("sd21+dino-vitb8", "sd21", "dino-vitb8"))
    assert both.parameters == sd21.parameters + dino.parameters
    assert both.kept == sd21.kept + dino.kept


def test_models_show_prints_taps_and_sizes(capsys):
    code, text, _ = run(capsys, "models", "show", "sd21")
    assert code == 0
    assert "taps at an input of 768x768 px" in text
    assert "up:1 *" in text
    assert "48x48" in text
    assert "949.6 million, in memory for the default tap: 808.4 million" in text.replace("\n", " ")
    code, text, _ = run(capsys, "models", "show", "sd21", "--size", "200x100", "--json")
    assert code == 0
    shown = json.loads(text)
    assert (shown["tap"], shown["parameters"], shown["kept"]) == ("up:1", SD21, 808_363_984)
    assert not shown["weights_here"]
    [tap] = [tap for tap in shown["taps"] if tap["tap"] == "up:1"]
    assert tap == {
        "tap": "up:1",
        "channels": 1280,
        "stride_px": 16,
        "input_wh": [200, 104],
        "grid_wh": [13, 7],
    }


def test_models_show_of_every_row(capsys):
    for name, row in ZOO.items():
        code, text, _ = run(capsys, "models", "show", name)
        assert code == 0
        assert f"{row.tap} *" in text


def test_models_show_of_a_fusion_and_of_a_folder(capsys, tiny_sd):
    code, text, _ = run(capsys, "models", "show", "sd21+dinov2-vitb14@0.3")
    assert code == 0
    assert "squash to each model's own size" in text
    assert "840x840 px and 768x768 px" in text.replace("\n", " ")
    code, text, _ = run(capsys, "models", "show", tiny_sd, "--json")
    assert code == 0
    assert len(json.loads(text)["taps"]) == 19


def test_models_show_of_a_foreign_name_is_one_line(capsys):
    code, _, err = run(capsys, "models", "show", "sd22")
    assert code == 2
    assert "unknown model 'sd22': did you mean" in err
    with pytest.raises(UnknownName):
        spec_of("sd22")


def test_cleandift_and_vae_are_here_where_their_pipeline_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))

    def here(name: str) -> bool:
        _, text, _ = run(capsys, "models", "show", name, "--json")
        return json.loads(text)["weights_here"]

    (tmp_path / "cleandift_sd15_unet.safetensors").touch()
    assert not any(here(name) for name in ("cleandift-sd15", "vae", "sd15", "sd15+rgb"))
    (tmp_path / "sd15").mkdir()
    (tmp_path / "sd15" / "model_index.json").touch()
    assert all(here(name) for name in ("cleandift-sd15", "vae", "sd15", "sd15+rgb"))
    assert not here("sd15+sd21")


def test_published_models_are_shown_without_torch():
    code = (
        "import sys\n"
        "from counterpoint.cli.app import app\n"
        "app(['models', 'show', 'sd21'], result_action='return_value')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
