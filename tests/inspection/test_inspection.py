"""What `sparra inspect` says of every kind of file."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from tests.bags import layouts

from sparra.bags import Bag, write_bag
from sparra.bags.foreign import BagSource
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError
from sparra.graphs.build import build_graph
from sparra.graphs.settings import default_graph_settings
from sparra.graphs.store import write_graph
from sparra.inspection import Report, inspect_file, report_lines

SHARED = Path(__file__).parents[3] / "shared" / "data"
TILES = np.array([[3, 1], [4, 1], [3, 2], [11, 7], [0, 0]])


def look(path: Path, mpp: float | None = None, settings: ImportSettings | None = None) -> Report:
    report = inspect_file(BagSource(path, "slide", mpp, settings or ImportSettings()))
    assert report.usable == (not report.reasons)
    assert all("\n" not in line for line in report_lines(report))
    assert json.loads(json.dumps(report.as_json(), allow_nan=False)) == report.as_json()
    return report


def features(n_rows: int = len(TILES)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n_rows, 1024)).astype(np.float32)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_format_is_named_with_its_shapes(tmp_path: Path, layout: str) -> None:
    made = layouts.LAYOUTS[layout](tmp_path, features(), TILES, 0.5)
    report = look(made.path, made.mpp, made.settings)
    assert report.usable
    assert report.kind == "bag"
    assert report.facts["features"][-2:] == [5, 1024]
    assert report.facts["as_a_bag"]["patches"] == 5
    assert report.facts["as_a_bag"]["extent_um"] == pytest.approx([11 * 128.0, 7 * 128.0])


def test_what_is_missing_is_said_and_the_rest_shown(tmp_path: Path) -> None:
    made = layouts.trident(tmp_path, features(), TILES, 0.25)
    report = look(made.path)
    assert not report.usable
    assert "does not say the µm per pixel" in report.reasons[0]
    assert report.facts["encoder"] == "uni"
    assert report.facts["magnification"] == 40
    assert report.facts["tile_side"] == 512
    assert report.facts["unit"] == "pixels of level 0"


def test_the_side_of_a_tile_in_um_is_not_told_among_pixels(tmp_path: Path) -> None:
    report = look(layouts.slideflow(tmp_path, features(), TILES, 0.25).path, 0.25)
    assert report.facts["unit"] == "pixels of level 0"
    assert report.facts["tile_side"] is None
    assert report.facts["tile_side_um"] == 128.0
    torch.save(torch.ones(3, 4), tmp_path / "bare.pt")
    assert "None" not in "".join(report_lines(look(tmp_path / "bare.pt")))


def test_hdf5_of_no_known_format_is_shown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        file["embeddings"] = features()
        file["uni/coords"] = TILES
    report = look(tmp_path / "s1.h5")
    assert report.facts == {"holds": {"embeddings": [5, 1024], "uni/coords": [5, 2]}}
    assert "none of the formats" in report.reasons[0]
    assert "sparra inspect" not in report.reasons[0]
    assert "  holds: embeddings 5 × 1024, uni/coords 5 × 2" in report_lines(report)


def test_nan_zeros_and_repeats_are_counted(tmp_path: Path) -> None:
    values = features()
    values[1, 2] = np.nan
    values[3] = 0
    layouts.clam_h5(tmp_path / "s1.h5", values, (TILES * 0).astype(int), layouts.clam_attributes(0.5))
    report = look(tmp_path / "s1.h5", 0.5)
    counts = [report.facts[name] for name in ("rows_with_nan", "rows_of_zeros", "repeated_positions")]
    assert counts == [1, 1, 4]
    assert not report.usable


def test_own_bag(tmp_path: Path) -> None:
    bag = Bag("slide", features(), TILES * 128.0, (128.0, 128.0), provenance={"encoder": {"name": "local"}})
    write_bag(tmp_path / "a.h5", bag)
    report = look(tmp_path / "a.h5")
    assert report.format == "sparra bag"
    assert report.facts["encoder"] == "local"
    assert report.facts["unit"] == "um"
    assert report.usable


def test_coordinates_alone_are_no_bag(tmp_path: Path) -> None:
    layouts.trident(tmp_path, features(), TILES, 0.25)
    report = look(tmp_path / "20x_256px_0px_overlap" / "patches" / "s1_patches.h5")
    assert report.kind == "coordinates"
    assert not report.usable


def test_a_folder_of_bags(tmp_path: Path) -> None:
    layouts.trident(tmp_path, features(), TILES, 0.25)
    layouts.stamp(tmp_path / "stamp", features(), TILES, 0.25).path.rename(tmp_path / "s2.h5")
    report = look(tmp_path)
    assert report.facts["bags"] == {"TRIDENT": 1, "STAMP": 1}
    assert report.usable
    (tmp_path / "s3.h5").write_bytes(b"broken")
    assert "s3.h5: the file is truncated" in look(tmp_path).reasons[0]
    (tmp_path / "empty").mkdir()
    assert not look(tmp_path / "empty").usable


def test_graphs_and_other_tensors(tmp_path: Path) -> None:
    bag = Bag("slide", features(), TILES * 128.0, (128.0, 128.0), provenance={"encoder": "uni"})
    write_graph(tmp_path / "g.safetensors", build_graph(bag, default_graph_settings("slide"), "a"))
    report = look(tmp_path / "g.safetensors")
    assert report.kind == "graph"
    assert report.facts["patches"] == 5
    assert report.facts["encoder"] == "uni"
    (tmp_path / "h.safetensors").write_bytes((tmp_path / "g.safetensors").read_bytes()[:100])
    assert "truncated or damaged" in look(tmp_path / "h.safetensors").reasons[0]


def test_models(tmp_path: Path) -> None:
    report = look_model(tmp_path, '{"format": "other"}')
    assert report.kind == "model"
    assert not report.usable


def look_model(folder: Path, description: str) -> Report:
    (folder / "model.json").write_text(description)
    assert look(folder / "model.json").kind == "model"
    return look(folder)


def write_volume(path: Path, voxels: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 0.8, 2.5))
    sitk.WriteImage(image, str(path))
    return path


def test_cts_and_masks(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ct = look(write_volume(tmp_path / "ct.nii.gz", generator.integers(-1000, 900, (6, 7, 8)).astype(np.int16)))
    assert (ct.kind, ct.usable) == ("ct", True)
    assert ct.facts["voxels"] == [8, 7, 6]
    assert ct.facts["spacing_mm"] == pytest.approx([0.8, 0.8, 2.5])
    voxels = np.zeros((6, 7, 8), np.uint8)
    voxels[2:4, 2:4, 2:4] = 2
    mask = look(write_volume(tmp_path / "mask.nii.gz", voxels))
    assert (mask.kind, mask.usable) == ("mask", True)
    assert mask.facts["labels"] == {"2": 8}
    assert "empty" in look(write_volume(tmp_path / "empty.nii.gz", voxels * 0)).reasons[0]
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "ct.nii.gz").read_bytes()[:200])
    assert not look(tmp_path / "cut.nii.gz").usable


def test_slides(tmp_path: Path) -> None:
    tags: Any = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    picture = np.full((128, 192, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", picture, resolution=(2e4, 2e4), resolutionunit="CENTIMETER", **tags)
    report = look(tmp_path / "s.tif")
    assert (report.kind, report.usable) == ("slide", True)
    assert report.facts["pixels"] == [192, 128]
    assert report.facts["mpp_x"] == pytest.approx(0.5)
    tifffile.imwrite(tmp_path / "n.tif", picture, **tags)
    assert look(tmp_path / "n.tif").kind == "slide"
    assert not look(tmp_path / "n.tif").usable
    assert look(tmp_path / "n.tif", mpp=0.5).usable
    (tmp_path / "notes.txt").write_text("hello")
    assert look(tmp_path / "notes.txt").kind == "unknown"


def test_tables_of_a_cohort(tmp_path: Path) -> None:
    (tmp_path / "subjects.csv").write_text("subject_id,time,event\nP1,10,1\nP2,-1,0\n")
    report = look(tmp_path / "subjects.csv")
    assert (report.kind, report.format) == ("table", "of subjects")
    assert report.facts == {"subjects": 2, "without_a_problem": 1}
    assert "row 3" in report.reasons[0]
    (tmp_path / "images.csv").write_text("subject_id,modality,path\nP1,slide,a.svs\n")
    assert look(tmp_path / "images.csv").facts == {"images": 1, "subjects": 1}


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        look(tmp_path / "none.h5")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sparra.cli import main

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sparra", "inspect", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    path = str(layouts.trident(tmp_path, features(), TILES, 0.25).path)
    code, printed = call(path)
    assert code == 1
    assert "usable: no" in printed
    code, printed = call(path, "--mpp", "0.25", "--json")
    assert code == 0
    assert json.loads(printed)["facts"]["as_a_bag"]["tile_um"] == [128.0, 128.0]


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason="real data absent")
def test_real_files() -> None:
    assert look(SHARED / "slides" / "cmu-1-small-region.svs").facts["mpp_x"] == pytest.approx(0.499)
    bags = look(SHARED / "hipt-rcc" / "bags")
    assert bags.facts["bags"] == {"tensor (HIPT, CLAM)": 616}
    mask = next((SHARED / "kits23").rglob("*segmentation.nii.gz"))
    assert set(look(mask).facts["labels"]) <= {"1", "2", "3"}
