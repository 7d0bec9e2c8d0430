from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.base import get_iod_module_map, get_module_attribute_map
from pydicom.datadict import dictionary_VR
from tests.maps.conftest import DATA, needs_data, scores_at
from tests.radiology.conftest import PATIENT

from sparra.errors import UserError
from sparra.maps.dicom import uid_rule, write_parametric_map, write_segmentation
from sparra.maps.label import MapLabel
from sparra.maps.scores import most_important
from sparra.maps.volume import CtSource, open_ct, score_volume
from sparra.radiology.geometry import Grid

FAILED = MapLabel("SPARRA on CT", "failed", "It fails.")


@pytest.fixture
def ct(write_series: Callable[..., Path]) -> CtSource:
    return open_ct(write_series(np.zeros((14, 36, 40), np.int16)))


def scores_on(ct: CtSource, n: int = 9):
    middle = np.array(ct.grid.size) / 2
    indices = np.random.default_rng(3).uniform(middle * 0.6, middle * 1.4, size=(n, 3))
    return scores_at(ct.grid.to_mm(indices), (6.0, 6.0, 6.0), "ct")


def check_parametric_map(path: Path, scores, ct: CtSource) -> None:
    """Values and places, as highdicom reads them."""
    read = (
        hd.pm.ParametricMap.from_dataset(pydicom.dcmread(path))
        if hasattr(hd.pm.ParametricMap, "from_dataset")
        else None
    )
    read = read or hd.imread(path)
    volume = read.get_volume()
    expected = score_volume(scores, ct)
    centre = np.array(volume.spatial_shape) // 2
    for index in (np.zeros(3), centre, np.array(volume.spatial_shape) - 1):
        where = volume.map_indices_to_reference(index[None].astype(float))[0]
        x, y, z = np.rint(ct.grid.to_index(where)).astype(int)
        np.testing.assert_allclose(ct.grid.to_mm([x, y, z]), where, atol=0.01)
        assert volume.array[tuple(index.astype(int))] == pytest.approx(expected[z, y, x])
    assert volume.array.sum() == pytest.approx(expected.sum(), rel=1e-5)
    assert volume.array.dtype.kind == "f"


def test_parametric_map_is_read_back_by_highdicom(ct: CtSource, tmp_path: Path) -> None:
    scores = scores_on(ct)
    write_parametric_map(tmp_path / "map.dcm", scores, ct, FAILED)
    check_parametric_map(tmp_path / "map.dcm", scores, ct)
    header = pydicom.dcmread(tmp_path / "map.dcm")
    assert header.SeriesDescription == "FAILED ITS CHECKS: SPARRA on CT"
    source = pydicom.dcmread(ct.series.files[0])
    assert header.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert header.StudyInstanceUID == source.StudyInstanceUID
    assert header.SOPClassUID.name == "Parametric Map Storage"


def test_segmentation_holds_the_fewest_nodes_of_half_the_importance(ct: CtSource, tmp_path: Path) -> None:
    scores = scores_on(ct)
    write_segmentation(tmp_path / "half.dcm", scores, ct, FAILED)
    read = hd.seg.segread(tmp_path / "half.dcm")
    marked = most_important(scores.score, scores.node_of_patch)
    expected = score_volume(scores, ct, marked.astype(float)) > 0
    volume = read.get_volume(combine_segments=True)
    assert int((volume.array > 0).sum()) == int(expected.sum())
    assert "FAILED" in read.get_segment_description(1).segment_label


@pytest.mark.parametrize("identifiers", ["keep", "new"])
def test_name_and_number_are_never_stored_and_new_uids_cannot_be_traced(
    ct: CtSource, tmp_path: Path, identifiers: str
) -> None:
    sources = [pydicom.dcmread(file) for file in ct.series.files]
    assert sources[0].PatientName == PATIENT
    names = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "SOPInstanceUID")
    known = {str(source[name].value).encode() for source in sources for name in names}
    uids, read = uid_rule(identifiers), []
    for name, write in (("map.dcm", write_parametric_map), ("half.dcm", write_segmentation)):
        write(tmp_path / name, scores_on(ct), ct, FAILED, uids)
        text = (tmp_path / name).read_bytes()
        assert b"Doe" not in text
        assert b"secret" not in text
        assert any(uid in text for uid in known) == (identifiers == "keep")
        read.append(pydicom.dcmread(tmp_path / name))
    # The two files of a scan stay together, and another scan's secret is another.
    assert read[0].StudyInstanceUID == read[1].StudyInstanceUID
    assert read[0].FrameOfReferenceUID == read[1].FrameOfReferenceUID
    assert (uid_rule(identifiers)("1.2.3") == uids("1.2.3")) == (identifiers == "keep")
    hd.seg.segread(tmp_path / "half.dcm")


def test_nothing_of_patient_and_study_is_copied_but_uids(ct: CtSource, tmp_path: Path) -> None:
    """Every attribute of these modules that the standard knows is filled in, not only those one thinks of."""
    modules, attributes = get_iod_module_map(), get_module_attribute_map()
    named = {
        item["keyword"]
        for module in modules["ct-image"]
        if module["ie"] in ("Patient", "Study")
        for item in attributes[module["key"]]
        if not item["path"]
    }
    assert {"OtherPatientNames", "PatientComments", "AdditionalPatientHistory", "OtherPatientIDsSequence"} <= named
    for file in ct.series.files:
        source = pydicom.dcmread(file)
        for keyword in named - {"StudyInstanceUID"}:
            fill(source, keyword)
        source.save_as(file)
    scores, empty = scores_on(ct), {"StudyInstanceUID"}
    for name, write in (("map.dcm", write_parametric_map), ("half.dcm", write_segmentation)):
        write(tmp_path / name, scores, ct, FAILED)
        text = (tmp_path / name).read_bytes()
        assert b"LEAKED" not in text
        assert b"19571113" not in text
        written = pydicom.dcmread(tmp_path / name)
        assert {keyword for keyword in named if keyword in written and written[keyword].value} == empty


def fill(source: pydicom.Dataset, keyword: str) -> None:
    """Give an attribute a value that can be found again."""
    kind = dictionary_VR(keyword)
    if kind == "SQ":
        item = pydicom.Dataset()
        item.PatientID = "LEAKED"
        setattr(source, keyword, [item])
    else:
        known = {
            "DA": "19571113",
            "TM": "111111",
            "UI": "1.2.3",
            "AS": "066Y",
            "DS": "57.5",
            "IS": "7",
            "US": 7,
            "UL": 7,
            "FD": 57.5,
            "FL": 57.5,
        }
        setattr(source, keyword, known.get(kind, "LEAKED"))


def test_a_ct_that_is_no_series_is_refused(tmp_path: Path) -> None:
    grid = Grid((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    ct = CtSource(tmp_path / "ct.nii.gz", grid, grid)
    with pytest.raises(UserError, match="no DICOM series"):
        write_parametric_map(tmp_path / "map.dcm", scores_on(ct), ct, FAILED)


@needs_data
@pytest.mark.real_data
def test_dicom_maps_of_a_real_series(tmp_path: Path) -> None:
    ct = open_ct(DATA / "sts-ct" / "dicom" / "STS_019" / "CT" / "image")
    scores = scores_on(ct, 30)
    write_parametric_map(tmp_path / "map.dcm", scores, ct, FAILED)
    check_parametric_map(tmp_path / "map.dcm", scores, ct)
    write_segmentation(tmp_path / "half.dcm", scores, ct, FAILED)
    assert hd.seg.segread(tmp_path / "half.dcm").number_of_segments == 1
