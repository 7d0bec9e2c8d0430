"""Importing a folder: every format, resuming, one line a failure, the table that a study reads."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from tests.bags import broken_slide2vec, layouts
from tests.bags.layouts import LAYOUTS, TILE_UM

from sparra.bags import read_bag
from sparra.bags.export import bags_in
from sparra.bags.settings import ImportSettings
from sparra.cohort.tables import subject_key
from sparra.errors import UserError
from sparra.study.imports.find import COMPANIONS, TWICE, WHOLE_SLIDES, find_bags
from sparra.study.imports.mpp import MppSource, mpp_source
from sparra.study.imports.run import ImportOutcome, ImportRequest, import_folder

BROKEN = broken_slide2vec.BROKEN
# A folder's coordinates, whole slides and tables are not taken for bags in the first place.
NOT_TAKEN = {"trident_slide_features", "csv_with_words", "csv_with_a_gap", "csv_with_half_a_position"}
TILES = np.array([[3, 1], [4, 1], [3, 2], [11, 7], [0, 0]])


def features(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(TILES), 1024)).astype(np.float32)


def run(source: Path, out: Path, mpp: float | None = 0.5, **values: Any) -> ImportOutcome:
    request = ImportRequest(source=source, out=out, mpp=MppSource(mpp), **values)
    return import_folder(request, lambda items, label, total: items)


def table(outcome: ImportOutcome) -> dict[str, str]:
    with outcome.images.open(newline="") as handle:
        return {row["path"]: row["subject_id"] for row in csv.DictReader(handle)}


def job(folder: Path, n_slides: int = 4, encoder: str = "uni_v1") -> Path:
    """A TRIDENT job folder with patches, features of tiles and of slides."""
    grid = folder / "20x_256px_0px_overlap"
    for number in range(n_slides):
        coords = layouts.corners_px(TILES, 0.5)
        name = f"TCGA-B0-000{number}-01Z-00-DX1"
        layouts.trident_h5(grid / "patches" / f"{name}_patches.h5", None, coords, 0.5)  # type: ignore[arg-type]
        layouts.trident_h5(grid / f"features_{encoder}" / f"{name}.h5", features(number), coords, 0.5, encoder)
    (grid / "slide_features_titan").mkdir()
    (grid / "slide_features_titan" / "a.h5").write_bytes(b"")
    (folder / "wsi_states").mkdir()
    (folder / "wsi_states" / "a.json").write_text('{"status": "completed"}')
    return folder


def test_a_file_that_is_no_bag_and_a_folder_of_tables_are_told(tmp_path: Path) -> None:
    source = tmp_path / "notes.txt"
    source.write_text("not features")
    with pytest.raises(UserError, match=r"notes\.txt: '\.txt' is no format of bags"):
        find_bags(source)
    assert [bag.path for bag in find_bags(source, "csv").bags] == [source]
    source.rename(tmp_path / "s1.csv")
    with pytest.raises(UserError, match=r"no feature file\. If its CSV files hold features, give '--format csv'"):
        find_bags(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_any_format_gives_its_one_bag(tmp_path: Path, layout: str) -> None:
    (tmp_path / "in").mkdir()
    made = LAYOUTS[layout](tmp_path / "in", features(), TILES, 0.5)
    reader = "csv" if layout == "csv" else None
    outcome = run(tmp_path / "in", tmp_path / "out", made.mpp, settings=made.settings, reader=reader)
    assert outcome.problems == []
    name = "0" if layout == "tiatoolbox_raw" else "s1"
    assert table(outcome) == {f"bags/{name}.h5": name}
    np.testing.assert_allclose(read_bag(tmp_path / "out" / "bags" / f"{name}.h5").positions, (TILES + 0.5) * TILE_UM)


def test_a_job_folder_is_imported_and_what_is_no_bag_is_counted(tmp_path: Path) -> None:
    outcome = run(job(tmp_path / "job"), tmp_path / "out")
    assert outcome.problems == []
    assert outcome.imported == 4
    assert outcome.skipped[WHOLE_SLIDES] == 1
    assert set(table(outcome).values()) == {f"TCGA-B0-000{number}" for number in range(4)}


def test_a_second_import_does_nothing_again_until_something_changes(tmp_path: Path) -> None:
    source, out = job(tmp_path / "job"), tmp_path / "out"
    run(source, out)
    times = {path: path.stat().st_mtime_ns for path in (out / "bags").iterdir()}
    assert run(source, out).up_to_date == 4
    assert {path: path.stat().st_mtime_ns for path in (out / "bags").iterdir()} == times
    changed = source / "20x_256px_0px_overlap" / "features_uni_v1" / "TCGA-B0-0001-01Z-00-DX1.h5"
    layouts.trident_h5(changed, features(9), layouts.corners_px(TILES, 0.5), 0.5)
    assert run(source, out).up_to_date == 3
    np.testing.assert_array_equal(read_bag(out / "bags" / changed.name).features, features(9))
    assert run(source, out, mpp=0.45).up_to_date == 0


def test_a_companion_that_changes_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made = layouts.clam(tmp_path / "in", features(), TILES, 0.5)
    run(tmp_path / "in", tmp_path / "out")
    attributes = {**layouts.clam_attributes(0.5), "patch_size": 512}
    layouts.clam_h5(tmp_path / "in" / "patches" / "s1.h5", None, layouts.corners_px(TILES, 0.5), attributes)
    assert run(tmp_path / "in", tmp_path / "out").up_to_date == 0
    assert read_bag(tmp_path / "out" / "bags" / made.path.name).patch_size == (256.0, 256.0)


def test_an_import_that_was_killed_goes_on(tmp_path: Path) -> None:
    source, out = job(tmp_path / "job"), tmp_path / "out"
    run(source, out)
    for path in sorted((out / "bags").glob("*.done.json"))[:2]:
        path.unlink()
    outcome = run(source, out)
    assert (outcome.imported, outcome.up_to_date) == (4, 2)


def test_subjects_that_the_user_wrote_are_kept(tmp_path: Path) -> None:
    source, out = job(tmp_path / "job"), tmp_path / "out"
    images = run(source, out).images
    images.write_text(images.read_text().replace("TCGA-B0-0002,", "Patient 2,"))
    assert table(run(source, out))["bags/TCGA-B0-0002-01Z-00-DX1.h5"] == "Patient 2"


@pytest.mark.parametrize(
    ("pattern", "subject"), [("^([^-]+)-", "TCGA"), ("DX.", "DX1"), ("nothing", "TCGA-B0-0000-01Z-00-DX1")]
)
def test_subjects_are_found_by_a_pattern(tmp_path: Path, pattern: str, subject: str) -> None:
    outcome = run(job(tmp_path / "job", 1), tmp_path / "out", subject_pattern=pattern)
    assert set(table(outcome).values()) == {subject}


def test_every_broken_bag_is_one_problem_and_the_good_ones_are_imported(tmp_path: Path) -> None:
    source = job(tmp_path / "in")
    for name, made in BROKEN.items():
        (source / name).mkdir()
        made.write(source / name)
        # One folder cannot hold two slides of one name, so each gets the name of what is wrong with it.
        for path in sorted((source / name).rglob("s1*"), key=lambda path: -len(path.parts)):
            path.rename(path.with_name(path.name.replace("s1", name)))
    outcome = run(source, tmp_path / "out", settings=ImportSettings(grid_mpp=0.5))
    assert {f"bags/TCGA-B0-000{number}-01Z-00-DX1.h5" for number in range(4)} <= set(table(outcome))
    expected = {name for name, made in BROKEN.items() if made.mpp == 0.5} - NOT_TAKEN
    assert {Path(problem.where).relative_to(source).parts[0] for problem in outcome.problems} == expected
    assert len(outcome.problems) == len(expected) > 40
    with (tmp_path / "out" / "failures.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(outcome.problems)
    assert all(row["what"] and row["mend"] and "unexpected" not in row["what"] for row in rows)


@pytest.mark.parametrize(
    ("name", "file"), [("TCGA-3Z-A93Z-01Z.79F4-C6", "TCGA-3Z-A93Z-01Z.79F4-C6"), ("P 1 (é)", subject_key("P 1 (é)"))]
)
def test_names_of_bags_are_those_of_slides_where_they_are_safe(tmp_path: Path, name: str, file: str) -> None:
    torch.save(torch.ones(2, 3), tmp_path / f"{name}.pt")
    assert list(table(run(tmp_path, tmp_path / "out"))) == [f"bags/{file}.h5"]


def test_two_files_of_one_slide_are_both_refused(tmp_path: Path) -> None:
    source = job(tmp_path / "job", 2)
    (tmp_path / "other").mkdir()
    other = job(tmp_path / "other", 1, "conch_v1")
    os.rename(other / "20x_256px_0px_overlap" / "features_conch_v1", source / "features_conch_v1")
    outcome = run(source, tmp_path / "out")
    assert outcome.imported == 1
    assert [problem.subject_id for problem in outcome.problems] == ["TCGA-B0-0000"] * 2
    assert "slide 'TCGA-B0-0000-01Z-00-DX1' has 2 files, also" in outcome.problems[0].what


def test_bags_of_another_encoder_are_listed_and_not_in_the_table(tmp_path: Path) -> None:
    source = job(tmp_path / "job", 4)
    layouts.stamp_h5(
        source / "odd.h5",
        features()[:, :512],
        TILES * 128.0,
        {"extractor": "conch", "unit": "um", "tile_size_um": 128.0, "feat_type": "tile"},
    )
    outcome = run(source, tmp_path / "out")
    assert "bags/odd.h5" not in table(outcome)
    (problem,) = outcome.problems
    assert problem.where.endswith("odd.h5")
    assert "512 of encoder 'conch', those of most slide images are 1024 of encoder 'uni'" in problem.what


def test_whole_slides_of_slide2vec_2_are_passed_over(tmp_path: Path) -> None:
    layouts.slide2vec_numpy_2(tmp_path / "in", features(), TILES, 0.5)
    outcome = run(tmp_path / "in", tmp_path / "out", None)
    assert (outcome.imported, outcome.problems) == (1, [])
    assert outcome.skipped == {COMPANIONS: 1, WHOLE_SLIDES: 2}


def test_odd_bags_of_an_import_are_not_exported(tmp_path: Path) -> None:
    source = job(tmp_path / "job", 3)
    layouts.stamp_h5(source / "odd.h5", features()[:, :512], TILES * 128.0, {"unit": "um", "tile_size_um": 128.0})
    run(source, tmp_path / "out")
    assert (tmp_path / "out" / "bags" / "odd.h5").is_file()
    assert [path.stem[-11:-7] for path in bags_in(tmp_path / "out")] == ["-01Z"] * 3


def test_a_pipe_that_is_called_like_a_bag_is_passed_over(tmp_path: Path) -> None:
    torch.save(torch.ones(5, 4), tmp_path / "a.pt")
    os.mkfifo(tmp_path / "b.pt")
    assert [bag.name for bag in find_bags(tmp_path).bags] == ["a"]


def test_pt_files_beside_h5_files_are_the_same_bags(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    layouts.clam_pt(tmp_path / "in", features(), TILES, 0.5)
    found = find_bags(tmp_path / "in")
    assert [bag.path.suffix for bag in found.bags] == [".h5"]
    assert found.skipped[TWICE] == 1


def test_features_are_not_taken_for_coordinates_by_their_name(tmp_path: Path) -> None:
    for name in ("s1_tiles.npy", "s2.tiles.npy"):
        np.save(tmp_path / name, features())
    assert [bag.path.name for bag in find_bags(tmp_path).bags] == ["s1_tiles.npy", "s2.tiles.npy"]
    (tmp_path / "s3.tiles.npz").touch()
    assert find_bags(tmp_path).skipped[COMPANIONS] == 1


def test_nothing_to_import_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        run(tmp_path / "none", tmp_path / "out")
    (tmp_path / "in" / "patches").mkdir(parents=True)
    (tmp_path / "in" / "notes.txt").touch()
    layouts.clam_h5(tmp_path / "in" / "patches" / "s1.h5", None, TILES)
    with pytest.raises(UserError, match=r"no feature file \(1 files are coordinates"):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match="folder to write to is the folder to read"):
        run(tmp_path / "in", tmp_path / "in")
    with pytest.raises(UserError, match="no regular expression"):
        run(job(tmp_path / "job"), tmp_path / "out", subject_pattern="(")


def test_mpp_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mpp.csv"
    path.write_text("wsi,mpp\nslides/a.b.svs,0.2278\nc.svs,0.5\n")
    source = mpp_source(0.25, path, None)
    assert [source.of(name) for name in ("a.b", "c", "d")] == [0.2278, 0.5, 0.25]
    path.write_text("wsi,mpp\na.svs,0\n")
    with pytest.raises(UserError, match=r"row 2: mpp '0' is no positive number"):
        mpp_source(None, path, None)
    path.write_text("wsi,mpp\na.svs,0.25\na.svs,0.25\na.svs,0.5\n")
    with pytest.raises(UserError, match=r"row 4: slide 'a.svs' has an mpp of 0.25 and of 0.5"):
        mpp_source(None, path, None)
    path.write_text("slidename,mpp\na.svs,0.5\n")
    with pytest.raises(UserError, match="no column names the slide"):
        mpp_source(None, path, None)
    with pytest.raises(UserError, match="an mpp of -1"):
        mpp_source(-1.0, None, None)


def test_mpp_from_the_slides(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    tags: Any = {"photometric": "rgb", "tile": (64, 64), "resolution": (1e4 / 0.23, 1e4 / 0.23)}
    picture = np.full((128, 128, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "slides" / "s1.tif", picture, resolutionunit="CENTIMETER", metadata=None, **tags)
    (tmp_path / "slides" / "s2.tif").write_bytes(b"broken")
    source = mpp_source(0.5, None, tmp_path / "slides")
    (tmp_path / "slides" / "s1.xml").write_text("an annotation beside the slide")
    source = mpp_source(0.5, None, tmp_path / "slides")
    assert source.of("s1") == pytest.approx(0.23)
    assert source.of("s3") == 0.5
    with pytest.raises(UserError, match=r"s2\.tif"):
        source.of("s2")
    (tmp_path / "slides" / "again").mkdir()
    (tmp_path / "slides" / "again" / "s1.svs").write_bytes(b"")
    with pytest.raises(UserError, match="two slides are called 's1'"):
        mpp_source(None, None, tmp_path / "slides")
    with pytest.raises(UserError, match="folder of slides does not exist"):
        mpp_source(None, None, tmp_path / "none")


def test_the_command_imports_and_a_study_reads_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparra.cli import main

    def call(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["sparra", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    source = job(tmp_path / "job")
    torch.save({"not": "a tensor"}, source / "broken.pt")
    out = tmp_path / "out"
    arguments = ("import", str(source), "--out", str(out), "--mpp-from-magnification", "--workers", "1")
    assert call(*arguments) == 1
    printed = capsys.readouterr().out
    assert "note (4 bags): mpp 0.5 was derived from 20x" in printed
    assert f"import failed: {source / 'broken.pt'}" in printed
    assert "4 bags imported (0 of them earlier)" in printed
    assert call("import", str(source), "--out", str(out), "--workers", "1") == 2
    assert "with mpp_from_magnification" in capsys.readouterr().out
    assert call(*arguments) == 1
    subjects = "\n".join(f"TCGA-B0-000{number}" for number in range(4))
    (out / "subjects.csv").write_text(f"subject_id\n{subjects}\n")
    (out / "study.yaml").write_text(
        "cohort: {subjects: subjects.csv, images: images.csv, time_unit: days}\nworkers: 1\n"
    )
    assert call("extract", str(out / "study.yaml")) == 0
    assert len(list((out / "output" / "features" / "slide").glob("*.h5"))) == 4
    assert "note (4 bags): mpp 0.5 was derived from 20x" in capsys.readouterr().out
