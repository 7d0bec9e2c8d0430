import json

import numpy as np
import openslide
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image

from sparra.errors import UserError
from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings

SETTINGS = SimulationSettings(
    subjects=5,
    seed=3,
    slide_um=512.0,
    ct_spacing_mm=(2.0, 2.0, 3.0),
    missing_ct=0.2,
    missing_slide=0.2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    simulate_cohort(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def images(folder):
    return pd.read_csv(folder / "images.csv", dtype=str, keep_default_na=False)


def test_tables_have_the_agreed_columns(folder, images):
    header = (folder / "images.csv").read_text().splitlines()[0]
    assert header == "subject_id,modality,path,mask,label,mpp"
    subjects = pd.read_csv(folder / "subjects.csv")
    assert list(subjects.columns[:3]) == ["subject_id", "time", "event"]
    assert list(subjects["subject_id"]) == [f"SIM-000{k}" for k in range(1, 6)]
    assert (subjects["time"] > 0).all()
    assert set(subjects["event"]) <= {0, 1}
    assert set(images["subject_id"]) == set(subjects["subject_id"])


def test_every_named_file_is_there_and_no_other(folder, images):
    named = {*images["path"], *images["mask"]} - {""}
    written = {path.relative_to(folder).as_posix() for kind in ("ct", "slides") for path in (folder / kind).iterdir()}
    assert named == written
    assert not list(folder.rglob(".partial*"))


def test_missing_modalities_have_no_row_and_no_truth(folder, images):
    per_modality = images.groupby("modality")["subject_id"].agg(set)
    assert {modality: len(ids) for modality, ids in per_modality.items()} == {"ct": 4, "slide": 4}
    assert {path.name[:8] for path in (folder / "truth").glob("*_ct.nii.gz")} == per_modality["ct"]
    assert {path.name[:8] for path in (folder / "truth").glob("*_slide.png")} == per_modality["slide"]


def test_ct_mask_and_truth_share_one_geometry(folder, images):
    for row in images[images["modality"] == "ct"].itertuples():
        ct, mask, truth = (
            sitk.ReadImage(str(folder / path)) for path in (row.path, row.mask, f"truth/{row.subject_id}_ct.nii.gz")
        )
        assert ct.GetPixelID() == sitk.sitkInt16
        assert mask.GetPixelID() == truth.GetPixelID() == sitk.sitkUInt8
        for image in (mask, truth):
            assert image.GetSize() == ct.GetSize()
            for name in ("GetSpacing", "GetOrigin", "GetDirection"):
                assert getattr(image, name)() == getattr(ct, name)()
        np.testing.assert_allclose(ct.GetSpacing(), SETTINGS.ct_spacing_mm)
        labels, region = sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(truth) > 0
        assert (labels[region] == int(row.label)).all()
        assert abs(region.sum() / (labels == int(row.label)).sum() - SETTINGS.region_share) < 0.01


def test_slide_truth_lies_on_the_slide(folder, images):
    scale = json.loads((folder / "truth" / "truth.json").read_text())["slide_downsample"]
    for row in images[images["modality"] == "slide"].itertuples():
        with openslide.OpenSlide(folder / row.path) as slide:
            size = slide.dimensions
            region = np.asarray(Image.open(folder / "truth" / f"{row.subject_id}_slide.png"))
            assert tuple(side * scale for side in region.shape[::-1]) == size
            picture = np.asarray(slide.get_thumbnail(region.shape[::-1]).convert("RGB")).min(axis=-1)
        assert set(np.unique(region)) == {0, 255}
        assert np.median(picture[region > 0]) < 215


def test_truth_explains_the_follow_up(folder):
    truth = pd.read_csv(folder / "truth" / "truth.csv")
    assert list(truth.columns) == ["subject_id", "z_ct", "z_slide", "log_hazard"]
    np.testing.assert_allclose(truth["log_hazard"], 1.4 * truth["z_ct"] + 1.4 * truth["z_slide"])


def test_two_processes_and_a_smaller_cohort_paint_the_same_pixels(folder, tmp_path):
    seen = []

    def progress(subjects):
        for subject in subjects:
            seen.append(subject)
            yield subject

    simulate_cohort(tmp_path, SETTINGS.model_copy(update={"subjects": 2}), workers=2, progress=progress)
    assert seen == ["SIM-0001", "SIM-0002"]
    repeated = [path for path in sorted(tmp_path.rglob("SIM-*")) if path.is_file()]
    assert len(repeated) >= 6
    for path in repeated:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    for name in ("subjects.csv", "truth/truth.csv"):
        assert (folder / name).read_text().startswith((tmp_path / name).read_text())


def test_bad_requests_are_told_in_a_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="Name a folder"):
        simulate_cohort(file, SETTINGS)
    with pytest.raises(UserError, match="workers is 0"):
        simulate_cohort(tmp_path, SETTINGS, workers=0)
