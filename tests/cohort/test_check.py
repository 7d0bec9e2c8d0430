from pathlib import Path

import pytest

from sparra.cohort.check import check_cohort, flow_of
from sparra.cohort.settings import CohortSettings
from sparra.cohort.tables import ImageRecord, read_images, read_labels, read_subjects, read_table, subject_key
from sparra.errors import UserError

SUBJECTS = "subject_id,time,event,age\nA,10,1,50\nB,20,Alive,60\nC,,1,70\nD,5,Lost,40\nE,7,0,30\nE,8,0,30\nF,3,1,20\n"
IMAGES = (
    "subject_id,modality,path,mask,label,mpp\n"
    "A,ct,a.nii.gz,a_mask.nii.gz,2,\nA,slide,a.svs,,,0.25\nB,wsi,b.svs,,,\n"
    "Z,ct,z.nii.gz,z_mask.nii.gz,2,\nB,mri,b.nii,,,\nF,ct,broken.nii.gz,m.nii.gz,1,\n"
)


@pytest.fixture
def settings(tmp_path: Path) -> CohortSettings:
    (tmp_path / "subjects.csv").write_text(SUBJECTS)
    (tmp_path / "images.csv").write_text(IMAGES)
    return CohortSettings(subjects=tmp_path / "subjects.csv", images=tmp_path / "images.csv", time_unit="days")


def refuse_broken(image: ImageRecord) -> None:
    if "broken" in image.path.name:
        raise UserError("the file is truncated", image.path, "Copy it again")


def test_every_problem_is_reported_at_once_with_its_row(settings: CohortSettings) -> None:
    cohort = check_cohort(settings, refuse_broken)
    told = [str(problem) for problem in cohort.problems]
    for fragment in (
        "row 4 (subject C): the time is missing",
        "row 5 (subject D): the event status 'Lost' is not known",
        "row 6 (subject E): subject 'E' stands in 2 rows",
        "row 7 (subject E)",
        "row 5 (subject Z): subject 'Z' is not in subjects.csv",
        "row 6 (subject B): modality 'mri' is not known",
        "broken.nii.gz (subject F): the file is truncated",
        "(subject F): no usable image",
    ):
        assert any(fragment in line for line in told), (fragment, told)
    assert len(told) == 8


def test_subjects_in_equals_used_plus_excluded(settings: CohortSettings) -> None:
    cohort = check_cohort(settings, refuse_broken)
    assert [s.subject_id for s in cohort.subjects] == ["A", "B"]
    flow = flow_of(cohort)
    excluded = [row["subject_id"] for row in flow["excluded"]]
    assert sorted(excluded) == ["C", "D", "E", "F"]
    assert flow["subjects_in"] == 6 == flow["subjects_used"] + len(excluded)
    reasons = {row["subject_id"]: row["what"] for row in flow["excluded"]}
    assert reasons["F"] == "the file is truncated; no usable image"
    assert flow["used"] == {"ct": 1, "slide": 2, "both": 1, "joint": 2}
    assert flow["events"] == 1


def test_a_problem_after_the_check_does_not_exclude_a_subject_that_is_still_used(
    settings: CohortSettings,
) -> None:
    cohort = check_cohort(settings, refuse_broken)
    flow = flow_of(cohort, used={"ct": set(), "slide": {"A", "B"}})
    assert flow["used"] == {"ct": 0, "slide": 2, "both": 0, "joint": 2}


def test_image_cells_are_read(settings: CohortSettings) -> None:
    images, _ = read_images(settings.images)
    ct, slide = images[0], images[1]
    assert ct.label == (2,)
    assert ct.path == settings.images.parent / "a.nii.gz"
    assert ct.mask == settings.images.parent / "a_mask.nii.gz"
    assert slide.mpp == 0.25
    assert len({image.key for image in images}) == len(images)


@pytest.mark.parametrize(
    ("column", "cell", "word"),
    [
        ("label", "2+x", "label"),
        ("label", "0", "background"),
        ("label", "GTV; ", "empty name"),
        ("resample_mask", "maybe", "resample_mask"),
        ("mpp", "-1", "mpp"),
        ("spacing_mm", "1x1", "spacing"),
    ],
)
def test_bad_image_cells_are_problems(tmp_path: Path, column: str, cell: str, word: str) -> None:
    path = tmp_path / "images.csv"
    path.write_text(f"subject_id,modality,path,{column}\nA,ct,a.nii,{cell}\n")
    _, problems = read_images(path)
    assert len(problems) == 1
    assert word in problems[0].what


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("2", (2,)),
        ("2.0", (2,)),
        ("1+3", (1, 3)),
        ("GTV p", ("GTV p",)),
        ("GTV+5mm", ("GTV+5mm",)),
        ("GTV p; GTV n", ("GTV p", "GTV n")),
        ("", None),
    ],
)
def test_labels_by_value_or_name(cell: str, label: tuple | None) -> None:
    assert read_labels(cell) == label


def test_several_series_of_one_folder_are_several_images(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    rows = ["A,ct,dicom,2,m.nii,yes", "A,ct,dicom,3,m.nii,", "B,ct,dicom,4,m.nii,no", "C,ct,dicom,4,m.nii,"]
    path.write_text("\n".join(["subject_id,modality,path,series,mask,resample_mask", *rows]))
    images, problems = read_images(path)
    assert [(image.series, image.resample_mask) for image in images] == [("2", True), ("3", False)]
    assert len({image.key for image in images}) == 2
    assert len(problems) == 2
    assert "listed for 2 subjects: B, C" in problems[0].what


def test_union_of_labels_and_spacing_are_read(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text("subject_id,modality,path,label,spacing_mm\nA,ct,a.nii,2+3,0.8x0.8x2.5\n")
    images, _ = read_images(path)
    assert images[0].label == (2, 3)
    assert images[0].spacing_mm == (0.8, 0.8, 2.5)


def test_a_table_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    with pytest.raises(UserError, match="does not exist"):
        read_table(path, ())
    path.write_text("subject_id;time;event\nA;1;1\n")
    with pytest.raises(UserError, match="semicolons"):
        read_table(path, ())
    path.write_text("subject_id,tiem,event\nA,1,1\n")
    with pytest.raises(UserError, match=r"'time' is missing.*'tiem'"):
        read_subjects(path, follow_up=True)
    path.write_bytes(b"subject_id\n\xff\xfe\n")
    with pytest.raises(UserError, match="UTF-8"):
        read_table(path, ())
    path.write_text("subject_id,modality,path,maks\nA,ct,a.nii,b.nii\n")
    with pytest.raises(UserError, match="Did you mean 'mask'"):
        read_images(path)


def test_a_quotation_mark_that_is_not_closed_is_one_sentence(tmp_path: Path) -> None:
    table = tmp_path / "subjects.csv"
    table.write_text('subject_id,time,event\nA,1,1\n"B,2,0\n' + "C,3,1\n" * 50_000)
    with pytest.raises(UserError, match=r"line 3 or after it.*quotation mark that is not closed"):
        read_subjects(table, follow_up=True)
    table.write_text('subject_id,time,event\nA,1,1\n\n"B" x,2,0\n')
    with pytest.raises(UserError, match=r"up to 4.*text behind it"):
        read_subjects(table, follow_up=True)


def test_follow_up_may_be_left_out_where_it_is_not_needed(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    path.write_text("subject_id\nA\nB\n")
    subjects, problems, listed = read_subjects(path, follow_up=False)
    assert [s.subject_id for s in subjects] == ["A", "B"]
    assert not problems
    assert listed == ["A", "B"]


def test_follow_up_that_is_there_is_read_even_where_it_is_not_needed(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    path.write_text("subject_id,time,event\nA,5,1\n")
    subjects, _, _ = read_subjects(path, follow_up=False)
    assert (subjects[0].time, subjects[0].event) == (5.0, True)


def test_a_decimal_comma_does_not_turn_an_event_into_a_censored_subject(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    path.write_text("subject_id,time,event\nP1,12,0,1\nP2,3,1\n")
    subjects, problems, listed = read_subjects(path, follow_up=True)
    assert [s.subject_id for s in subjects] == ["P2"]
    assert "4 cells" in problems[0].what
    assert "row 2" in problems[0].where
    assert listed == ["P2", "P1"]


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_bytes(
        b"\xef\xbb\xbfsubject_id,modality,path,label\r\n\r\n"
        b'A,ct,"a, first.nii",2.0\r\n,,,\r\nB,ct,b\xe2\x80\xa8.nii,2\r\n'
    )
    images, problems = read_images(path)
    assert not problems
    assert [image.row for image in images] == [3, 5]
    assert [image.label for image in images] == [(2,), (2,)]
    assert images[0].path.name == "a, first.nii"
    (tmp_path / "subjects.csv").write_text("subject_id,time,event,time\nA,1,1,2\n")
    with pytest.raises(UserError, match="'time' occurs twice"):
        read_subjects(tmp_path / "subjects.csv", follow_up=True)


def test_an_image_listed_twice_or_for_two_subjects_is_seen_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text("subject_id,modality,path\nA,slide,c.svs\nA,slide,./c.svs\nB,slide,d.svs\nC,slide,d.svs\n")
    images, problems = read_images(path)
    assert [image.path.name for image in images] == ["c.svs"]
    assert "listed twice" in problems[0].what
    assert [p.subject_id for p in problems[1:]] == ["B", "C"]
    assert all("2 subjects: B, C" in p.what for p in problems[1:])


def test_subject_keys_are_safe_and_distinct() -> None:
    assert subject_key("TCGA-A1-0001") == "TCGA-A1-0001"
    odd = [subject_key(s) for s in ("a/b", "a\\b", "../x", "a b", ".hidden")]
    assert len(set(odd)) == 5
    assert all("/" not in key and "\\" not in key and not key.startswith(".") for key in odd)
