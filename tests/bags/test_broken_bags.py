"""Broken and odd bags: one clear line each, no code run, and the cohort goes on."""

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.bags import broken_slide2vec, layouts
from tests.bags.broken import MPP, TILES, trident_file, values

from sparra.bags.foreign import BagSource
from sparra.bags.readers import import_bag
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError
from sparra.inspection import inspect_file

BROKEN = broken_slide2vec.BROKEN
# One cohort has one answer to what its files do not say.
SETTINGS = ImportSettings(grid_mpp=0.5)


@pytest.fixture(params=sorted(BROKEN))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, BROKEN[request.param].write(tmp_path)


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 45


def test_a_broken_bag_ends_in_one_clear_line(case: tuple[str, Path], tmp_path: Path) -> None:
    name, path = case
    with pytest.raises(UserError) as caught:
        import_bag(path, "slide", BROKEN[name].mpp, SETTINGS)
    line = str(caught.value)
    assert BROKEN[name].says in line
    assert "\n" not in line
    assert str(tmp_path) in line
    assert caught.value.mend
    assert not (tmp_path / "code-ran").exists()


def test_inspection_says_the_same_and_does_not_stumble(case: tuple[str, Path], tmp_path: Path) -> None:
    name, path = case
    report = inspect_file(BagSource(path, "slide", BROKEN[name].mpp, SETTINGS))
    assert not report.usable
    assert BROKEN[name].says in " ".join(report.reasons)
    assert not (tmp_path / "code-ran").exists()


def write_study(folder: Path) -> tuple[Path, dict[str, str]]:
    """Write a study of all broken bags and three good ones; return it and the subjects of the broken ones."""
    rows = []
    for name, made in BROKEN.items():
        (folder / name).mkdir()
        rows.append({"subject_id": name, "path": str(made.write(folder / name)), "mpp": made.mpp or ""})
    for number in range(3):
        (folder / f"good-{number}").mkdir()
        path = trident_file(folder / f"good-{number}", values() + number)
        rows.append({"subject_id": f"good-{number}", "path": str(path), "mpp": MPP})
    with (folder / "images.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, ["subject_id", "modality", "path", "mpp"])
        table.writeheader()
        table.writerows({"modality": "slide", **row} for row in rows)
    (folder / "subjects.csv").write_text("subject_id\n" + "\n".join(row["subject_id"] for row in rows) + "\n")
    study = folder / "study.yaml"
    study.write_text(
        "cohort: {subjects: subjects.csv, images: images.csv, time_unit: days}\nworkers: 1\n"
        "bags: {imports: {grid_mpp: 0.5}}\n"
    )
    return study, {name: made.says for name, made in BROKEN.items()}


def test_a_cohort_goes_on_without_its_broken_bags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparra.cli import main

    study, sentences = write_study(tmp_path)
    monkeypatch.setattr("sys.argv", ["sparra", "extract", str(study)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    with (tmp_path / "output" / "failures.csv").open(newline="") as handle:
        rows = {row["subject_id"]: row for row in csv.DictReader(handle) if row["what"] != "no usable image"}
    assert set(rows) == set(sentences)
    for name, says in sentences.items():
        assert says in f"{rows[name]['what']} {rows[name]['mend']}"
    bags = {path.stem.rpartition("-")[0] for path in (tmp_path / "output" / "features" / "slide").glob("*.h5")}
    assert bags == {"good-0", "good-1", "good-2"}
    printed = capsys.readouterr().out
    assert "Traceback" not in printed
    assert all(printed.count(f"(subject {name}): ") >= 1 for name in sentences)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_random_damage_ends_in_a_bag_or_one_line(tmp_path: Path, layout: str) -> None:
    made = layouts.LAYOUTS[layout](tmp_path, values(), TILES, MPP)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    whole = {path: path.read_bytes() for path in files}
    generator = np.random.default_rng([7, sorted(layouts.LAYOUTS).index(layout)])
    lines = []
    for trial in range(12):
        path = files[generator.integers(len(files))]
        content = bytearray(whole[path])
        place = int(generator.integers(len(content)))
        if trial % 3 == 0:
            del content[place:]
        elif trial % 3 == 1:
            del content[place : place + 16]
        else:
            content[min(place, 500)] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(content))
        try:
            import_bag(made.path, "slide", made.mpp, made.settings)
        except UserError as error:
            lines.append(str(error))
        path.write_bytes(whole[path])
    assert lines
    assert all("\n" not in line and str(tmp_path) in line for line in lines)
