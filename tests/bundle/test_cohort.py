"""Predicting a table: what differs from training is refused or remarked on, and no patient stops the others."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.bundle.conftest import make_bag, make_cohort, quietly, write_rows

from sparra.bags import Bag, write_bag
from sparra.bundle.bundle import Bundle
from sparra.bundle.cohort import CohortOutcome, Request, _remarks, predict_cohort
from sparra.bundle.content import MapVerdict
from sparra.cli import main
from sparra.engine.settings import EngineSettings
from sparra.errors import UserError
from sparra.maps.settings import MapsSettings
from sparra.study.settings import StudySettings
from sparra.study.undrawn import undrawn_sentences

NO_MAPS = MapsSettings(formats=())


def predicted(bundle: Bundle, folder: Path, bags: dict[str, Bag | bytes], **more) -> CohortOutcome:
    """Predict one slide a patient; bytes stand for a broken file."""
    folder.mkdir(exist_ok=True)
    for name, bag in bags.items():
        if isinstance(bag, bytes):
            (folder / f"{name}.h5").write_bytes(bag)
        else:
            write_bag(folder / f"{name}.h5", bag)
    rows = [[name, bag.modality if isinstance(bag, Bag) else "slide", f"{name}.h5"] for name, bag in bags.items()]
    write_rows(folder / "images.csv", [["subject_id", "modality", "path"], *rows])
    request = Request(folder / "images.csv", folder / "out", engine=EngineSettings(workers=1), maps=NO_MAPS, **more)
    return predict_cohort(bundle, request, quietly)


def slide(seed: int = 0, **provenance) -> Bag:
    return make_bag("slide", np.random.default_rng(seed), **provenance)


def grid(tile_um: float, tile_px: int) -> dict[str, float]:
    return {"tile_um": tile_um, "tile_px": tile_px}


def test_one_bad_patient_never_stops_the_others(made: Bundle, tmp_path: Path) -> None:
    wrong = {
        "broken": b"no HDF5 at all",
        "foreign": slide(1, encoder={"name": "another"}),
        "weights": slide(2, weights={"sha256": "cd" * 32}),
        "coarse": slide(3, grid=grid(256.0, 256)),
        "scan": slide(4, slide={"mpp_x": 1.0}),
    }
    outcome = predicted(made, tmp_path / "new", {**wrong, "good": slide(5), "near": slide(6, slide={"mpp_x": 0.3})})
    table = pd.read_csv(outcome.table).set_index("subject_id")
    assert set(table.index) == {"good", "near"}
    assert "0.3 µm per pixel at level 0, the training images 0.25" in table["remarks"]["near"]
    with outcome.layout.failures.open(newline="") as file:
        failures = {row["subject_id"]: row["what"] for row in csv.DictReader(file) if row["stage"] != "check"} | {
            problem.subject_id: problem.what for problem in outcome.problems if problem.subject_id == "broken"
        }
    for name, said in {
        "foreign": "8 of encoder 'another', the bundle was trained on 8 of encoder 'tiny-slide'",
        "weights": "other weights",
        "coarse": "its tiles are 1 µm per pixel, those of training 0.5",
        "scan": "it has 1 µm per pixel at level 0",
    }.items():
        assert said in failures[name], failures
    assert "broken" in failures
    # The reason is told once: no second line blames a table that the user never wrote.
    assert sorted(problem.subject_id for problem in outcome.problems) == sorted(wrong)


def test_an_option_that_the_encoder_does_not_have_is_told_in_one_sentence(made: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        predicted(made, tmp_path / "new", {"A": slide(1)}, encoder_options={"ct": {"bin_widht": 3}, "slide": {}})
    told = str(error.value)
    assert told == (
        "the bundle's settings with --encoder-option: ct: encoder_options: unknown key 'bin_widht'. "
        "Did you mean 'bin_width_hu'?"
    ), told


def test_a_risk_far_from_the_cut_is_an_extrapolation(made: Bundle, tmp_path: Path) -> None:
    outcome = predicted(made, tmp_path / "new", {"A": slide(1), "B": slide(2), "C": slide(3)})
    assert outcome.prediction is not None
    far = replace(outcome.prediction, risk=np.array([-5.01, 4.99, 23.456]))
    assert far.extrapolated.tolist() == [True, False, True]
    assert _remarks(outcome, far, 0).endswith("its risk lies 5.01 SDs below the training's cut: the model extrapolates")
    assert "extrapolates" not in _remarks(outcome, far, 1)
    assert "its risk lies 23.5 SDs above the training's cut" in _remarks(outcome, far, 2)


def test_a_shifted_cohort_is_remarked_on_and_one_like_training_is_not(made: Bundle, tmp_path: Path) -> None:
    alike = make_cohort(tmp_path / "alike", 40, seed=21, prefix="A")
    shifted = make_cohort(tmp_path / "shifted", 8, seed=22, prefix="S", offset=3.0)
    rates = []
    for images, out in ((alike, "a"), (shifted, "s")):
        found = predict_cohort(
            made, Request(images, tmp_path / out, engine=EngineSettings(workers=1), maps=NO_MAPS), quietly
        ).prediction
        assert found is not None
        rates.append(found.unlike.mean())
    assert rates[0] <= 0.15
    assert rates[1] == 1


def test_a_second_run_makes_no_bag_anew(made: Bundle, tmp_path: Path) -> None:
    first = predicted(made, tmp_path / "new", {"one": slide(1), "two": slide(2)})
    bags = list((first.layout.root / "features").rglob("*.h5"))
    before = {path: path.stat().st_mtime_ns for path in bags}
    assert len(bags) == 2
    again = predicted(made, tmp_path / "new", {})
    assert again.prediction is None
    request = Request(
        tmp_path / "new" / "images.csv", tmp_path / "new" / "out", engine=EngineSettings(workers=1), maps=NO_MAPS
    )
    write_rows(
        request.images, [["subject_id", "modality", "path"], ["one", "slide", "one.h5"], ["two", "slide", "two.h5"]]
    )
    assert predict_cohort(made, request, quietly).prediction is not None
    assert {path: path.stat().st_mtime_ns for path in bags} == before


def test_the_same_from_python_without_files(made: Bundle, tmp_path: Path) -> None:
    bag = slide(7)
    table = predicted(made, tmp_path / "new", {"one": bag}).prediction
    direct = made.predict({"one": {"slide": bag}})
    assert table is not None
    np.testing.assert_allclose(direct.risk, table.risk, atol=1e-6)
    np.testing.assert_allclose(direct.survival, table.survival, atol=1e-6)
    with pytest.raises(UserError, match="trained on 8 of encoder 'tiny-slide'"):
        made.predict({"one": slide(7, encoder={"name": "another"})})
    with pytest.raises(UserError, match="outside the training follow-up"):
        made.predict({"one": bag}, horizons=[1e6])


def test_the_commands_write_and_read_a_bundle(
    finished: StudySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sparra", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    study, bundle = finished.cohort.subjects.parent / "study.yaml", tmp_path / "b"
    code, said = call("export", study, bundle, "--model", "coxph", "--replicates", 2)
    assert code == 0, said
    digest = said.split()[-1]
    assert call("export", study, bundle)[0] == 2
    assert call("export", study, tmp_path / "c", "--model", "rsf")[0] == 2
    images = make_cohort(tmp_path / "new", 2, seed=3)
    out = ("--out", tmp_path / "out", "--workers", 1, "--maps", "geojson")
    code, said = call("predict", bundle, images, *out, "--digest", "0" * 64)
    assert code == 2
    assert "digest" in said
    code, said = call("predict", bundle, images, *out, "--digest", digest, "--horizons", "100,200")
    assert code == 0, said
    assert "2 patients" in said
    assert len(list((tmp_path / "out" / "maps").rglob("*.geojson"))) == 2
    header = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0]
    assert "survival_200_upper" in header


def test_maps_of_new_patients_carry_the_training_studys_verdict(made: Bundle, tmp_path: Path) -> None:
    failed = {"slide": MapVerdict(verdict="failed", sentence="It fails its checks.")}
    bundle = replace(made, content=made.content.model_copy(update={"maps": failed}))
    write_bag(tmp_path / "one.h5", slide(1))
    write_rows(tmp_path / "images.csv", [["subject_id", "modality", "path"], ["one", "slide", "one.h5"]])
    request = Request(
        tmp_path / "images.csv",
        tmp_path / "out",
        engine=EngineSettings(workers=1),
        maps=MapsSettings(formats=("geojson",)),
    )
    assert not predict_cohort(bundle, request, quietly).problems
    text = next((tmp_path / "out" / "maps").rglob("*.geojson")).read_text()
    assert "Importance (FAILED ITS CHECKS)" in text
    assert "In the training study: It fails its checks." in text
    # What someone has put among the maps neither stops them nor is removed.
    note = next((tmp_path / "out" / "maps").glob("*/")) / "notes" / "mine.txt"
    note.parent.mkdir()
    note.write_text("x")
    request = replace(request, maps=MapsSettings(formats=("geojson",), normalisation="rank"))
    assert not predict_cohort(bundle, request, quietly).problems
    assert note.exists()
    assert next((tmp_path / "out" / "maps").rglob("*.geojson")).read_text() != text


def test_features_without_positions_get_no_map_and_are_no_failure(made: Bundle, tmp_path: Path) -> None:
    write_bag(tmp_path / "one.h5", replace(slide(1), patch_size=None))
    write_rows(tmp_path / "images.csv", [["subject_id", "modality", "path"], ["one", "slide", "one.h5"]])
    outcome = predict_cohort(made, Request(tmp_path / "images.csv", tmp_path / "out"), quietly)
    assert outcome.prediction is not None
    assert not outcome.problems
    assert undrawn_sentences(outcome.layout) == [
        "No map can be drawn of 1 slide: the features came without the size of the patches."
    ]
