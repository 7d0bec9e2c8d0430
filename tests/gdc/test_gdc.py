"""The whole command against a local server in the form of the APIs."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gdc.server import Archive, serving
from typer.testing import CliRunner

from sparra.cli import app
from sparra.cohort.tables import read_images, read_subjects
from sparra.errors import UserError
from sparra.gdc.api import GdcApi
from sparra.gdc.barcodes import choose_slides, read_slide
from sparra.gdc.cases import read_case
from sparra.gdc.series import choose_series, read_rules, read_series
from sparra.web import JsonClient

A, B, C, D = "TCGA-AA-0001", "TCGA-BB-0002", "TCGA-CC-0003", "TCGA-DD-0004"


def case(name: str, status: str, death: int | None = None, contacts: tuple[int | None, ...] = ()) -> dict:
    diagnosis = {
        "days_to_diagnosis": 0, "days_to_last_follow_up": contacts[0] if contacts else None,
        "age_at_diagnosis": 22000, "ajcc_pathologic_stage": "Stage II", "tumor_grade": "Not Reported",
        "diagnosis_is_primary_disease": True,
    }  # fmt: skip
    return {
        "id": f"uuid-{name}", "case_id": f"uuid-{name}", "submitter_id": name, "index_date": "Diagnosis",
        "project": {"project_id": "TCGA-KIRC"},
        "demographic": {"vital_status": status, "days_to_death": death, "gender": "female"},
        "diagnoses": [{"days_to_diagnosis": -4000, "age_at_diagnosis": 18000}, diagnosis],
        "follow_ups": [{"days_to_follow_up": day} for day in contacts[1:]],
    }  # fmt: skip


def slide(name: str, linked: str) -> dict:
    return {
        "file_id": f"id-{name}", "file_name": f"{name}.0A1B.svs", "md5sum": "m", "file_size": 7, "state": "released",
        "cases": [{"submitter_id": linked, "samples": [{"sample_type": "Primary Tumor"}]}],
    }  # fmt: skip


def series(name: str, uid: str, description: str, images: int = 60, date: str = "2001-01-01") -> dict:
    return {
        "PatientID": name, "SeriesInstanceUID": uid, "StudyInstanceUID": "1", "Modality": "CT",
        "SeriesDescription": description, "ImageCount": images, "SeriesDate": date, "Collection": "TCGA-KIRC",
    }  # fmt: skip


@pytest.fixture
def archive() -> Iterator[Archive]:
    content = Archive(
        cases=[
            case(A, "Alive", None, (100, 900, None, 400)),
            case(B, "Dead", 365, (400,)),
            case(C, "Not Reported", None, (50,)),
            case(D, "Alive", None, (0,)),
        ],
        files=[
            slide(f"{A}-01Z-00-DX1", A),
            slide(f"{A}-01Z-00-DX2", A),
            slide(f"{A}-01A-01-TS1", A),
            slide(f"{B}-01A-01-BS1", B),
            slide(f"{B}-11A-01-TS1", B),
            slide(f"{B}-01Z-00-DX1", A),
            slide(f"{C}-01Z-00-DX1", C),
        ],
        series=[
            series(A, "1.1", "SCOUT", 2),
            series(A, "1.2", "ABD PORTAL VENOUS 5mm"),
            series(A, "1.3", "ABD ARTERIAL 2.5 MM"),
            series(A, "1.4", "ABD ARTERIAL 1 MM", date="2003-01-01"),
            series(A, "1.5", "COR MPR arterial"),
            series(B, "2.1", "W/O contrast"),
            series("TCGA-ZZ-9999", "9.9", "ARTERIAL"),
        ],
        warnings={"fields": "unrecognized values: [follow_ups.x]"},
    )
    with serving(content) as ready:
        yield ready


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def run(archive: Archive, out: Path, *options: str) -> None:
    command = ["cohort", "gdc", "--project", "TCGA-KIRC", "--out", str(out), "--address", archive.address]
    result = CliRunner().invoke(app, [*command, "--nbia-address", archive.address, *options])
    if result.exception is not None:
        raise result.exception


def test_the_tables(archive: Archive, tmp_path: Path) -> None:
    run(archive, tmp_path, "--ct", "--slides", "diagnostic-first", "--page-size", "3")
    subjects, problems, _ = read_subjects(tmp_path / "subjects.csv", follow_up=True)
    assert not problems
    assert [(s.subject_id, s.time, s.event) for s in subjects] == [(A, 900, False), (B, 365, True)]
    assert dict(subjects[0].covariates) == {
        "project": "TCGA-KIRC", "site": "AA", "age": "60.2", "sex": "female", "stage": "Stage II", "grade": "",
        "diagnosis": "",
    }  # fmt: skip
    images, problems = read_images(tmp_path / "images.csv")
    assert not problems
    assert [(i.subject_id, i.modality, i.path.name) for i in images] == [
        (A, "ct", "1.3"),
        (A, "slide", f"{A}-01Z-00-DX1.0A1B.svs"),
        (A, "slide", f"{A}-01Z-00-DX2.0A1B.svs"),
        (B, "ct", "2.1"),
        (B, "slide", f"{B}-01A-01-BS1.0A1B.svs"),
    ]
    assert len([path for path, _ in archive.asked if path == "/cases"]) == 2
    assert len([path for path, _ in archive.asked if path == "/files"]) == 3


def test_what_is_left_out_is_written_down(archive: Archive, tmp_path: Path) -> None:
    run(archive, tmp_path, "--ct")
    dropped = {(row["kind"], row["item"] or row["subject_id"]): row["reason"] for row in rows(tmp_path / "dropped.csv")}
    assert dropped["subject", C] == "the vital status is ''"
    assert "day 0" in dropped["subject", D]
    assert dropped["slide", f"{A}-01A-01-TS1.0A1B.svs"] == "it is no diagnostic slide (TS)"
    assert dropped["slide", f"{B}-11A-01-TS1.0A1B.svs"] == "its sample type is 11"
    assert "archive links it to TCGA-AA-0001" in dropped["slide", f"{B}-01Z-00-DX1.0A1B.svs"]
    assert dropped["slide", f"{C}-01Z-00-DX1.0A1B.svs"] == "its patient is not in the cohort"
    assert dropped["ct", "1.1"] == "it is a localizer"
    assert dropped["ct", "1.2"] == dropped["ct", "1.4"] == "another series is preferred"
    assert dropped["ct", "1.5"] == "it is a reformation"
    assert dropped["ct", "9.9"] == "its patient is not in the cohort"
    flow = json.loads((tmp_path / "flow.json").read_text())
    assert flow["data_release"].startswith("Data Release 39.0")
    assert flow["warnings"] == ["fields: unrecognized values: [follow_ups.x]"]
    assert flow["counts"]["cases"] == flow["counts"]["subjects"] + 2
    assert "after the death" in rows(tmp_path / "remarks.csv")[0]["remark"]


def test_lines_are_shown_as_they_are(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "[old]"
    command = ["cohort", "gdc", "--project", "TCGA-KIRC", "--out", str(out), "--address", archive.address]
    told = CliRunner().invoke(app, command).output
    assert "unrecognized values: [follow_ups.x]" in told
    assert str(out / "subjects.csv") in told


def test_manifests(archive: Archive, tmp_path: Path) -> None:
    run(archive, tmp_path, "--ct")
    lines = (tmp_path / "gdc_manifest.txt").read_text().splitlines()
    assert lines[0].split("\t") == ["id", "filename", "md5", "size", "state"]
    assert lines[1].split("\t") == [f"id-{A}-01Z-00-DX1", f"{A}-01Z-00-DX1.0A1B.svs", "m", "7", "released"]
    text = (tmp_path / "series.tcia").read_text().splitlines()
    assert text[text.index("ListOfSeriesToDownload=") + 1 :] == ["1.3", "2.1"]


def client(archive: Archive, waits: list[float], attempts: int = 4) -> JsonClient:
    return JsonClient(archive.address, 5.0, attempts, sleep=waits.append)


def test_busy_broken_and_cut_answers_are_asked_for_again(archive: Archive) -> None:
    archive.faults = [(429, {"Retry-After": "7"}, b""), (503, {}, b"<html>"), (200, {}, b'{"data_rel')]
    waits: list[float] = []
    assert GdcApi(client(archive, waits)).data_release().startswith("Data Release")
    assert waits == [7, 2, 4]


def test_it_gives_up_with_a_sentence(archive: Archive) -> None:
    archive.faults = [(500, {}, b'{"message": "internal"}')] * 4
    with pytest.raises(UserError, match=r"4 attempts \(status 500: internal\)"):
        GdcApi(client(archive, [])).data_release()


def test_a_refusal_is_not_repeated(archive: Archive) -> None:
    archive.faults = [(400, {}, b'{"message": "bad filters"}')]
    with pytest.raises(UserError, match="status 400: bad filters"):
        GdcApi(client(archive, [])).cases(["X"])
    assert len(archive.asked) == 1


def test_other_addresses_and_large_answers_are_refused(archive: Archive) -> None:
    with pytest.raises(UserError, match="no web address"):
        JsonClient("file:///etc").get("passwd")
    archive.faults = [(302, {"Location": "file:///etc/passwd"}, b"")]
    with pytest.raises(UserError, match="302"):
        client(archive, []).get("status")
    archive.faults = [(200, {}, b"[" + b"1," * 600 + b"1]")]
    with pytest.raises(UserError, match="larger than 100 bytes"):
        JsonClient(archive.address, max_bytes=100).get("status")


def test_records_that_move_between_pages_are_noticed(archive: Archive) -> None:
    archive.cases.append(archive.cases[0])
    with pytest.raises(UserError, match="announced 5 records and gave 4"):
        GdcApi(client(archive, [])).cases(["TCGA-KIRC"])


def test_an_answer_of_another_form(archive: Archive) -> None:
    archive.faults = [(200, {}, b'{"data": []}')]
    with pytest.raises(UserError, match="form of the GDC"):
        GdcApi(client(archive, [])).cases(["TCGA-KIRC"])


def test_a_slide_without_barcode_is_matched_by_the_link() -> None:
    hit = slide("C3L-00004-21", "C3L-00004") | {"experimental_strategy": "Diagnostic Slide"}
    chosen, dropped = choose_slides([read_slide(hit)], ["C3L-00004"], "diagnostic", ["01"])
    assert [one.subject_id for one in chosen] == ["C3L-00004"]
    assert not dropped


def test_every_field_may_be_missing() -> None:
    assert "vital status" in read_case({"submitter_id": A}).outcome.reason
    assert "vital status" in read_case({"submitter_id": A, "demographic": None, "diagnoses": None}).outcome.reason


def test_thickness_from_column_or_description() -> None:
    assert read_series({"Slice Thickness": "2.5", "SeriesDescription": "5mm"}).thickness_mm == 2.5
    assert read_series({"SeriesDescription": "ABD 5.0 MM ST"}).thickness_mm == 5.0
    assert read_series({"SeriesDescription": "ABD"}).thickness_mm is None


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("12-31-2003", "01-02-2004"),
        ("1/2/2004", "11/02/2004"),
        ("20031231", "2004-01-02"),
        ("2003-12-31 09:30:00.0", "01-02-2004"),
        ("2004-01-02", "13-13-2003"),
        ("2004-01-02", ""),
    ],
)
def test_the_earliest_examination_by_every_way_of_writing_a_date(early: str, late: str) -> None:
    both = [read_series(series(A, "1", "ART 3mm", date=late)), read_series(series(A, "2", "ART 3mm", date=early))]
    judged = choose_series(both, [A], read_rules(None))
    assert [one.series.uid for one in judged if not one.reason] == ["2"]


def test_rules_are_data(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "src/sparra/gdc/series_rules.yaml").read_text()
    (tmp_path / "r.yaml").write_text(text.replace("study: earliest", "study: any"))
    candidates = [read_series(series(A, "1", "ART 3mm")), read_series(series(A, "2", "ART 1mm", date="2005-01-01"))]
    for path, uid in ((None, "1"), (tmp_path / "r.yaml", "2")):
        judged = choose_series(candidates, [A], read_rules(path))
        assert [one.series.uid for one in judged if not one.reason] == [uid]
    (tmp_path / "bad.yaml").write_text(text.replace("'scout|", "'(scout|"))
    with pytest.raises(UserError, match="regular expression"):
        read_rules(tmp_path / "bad.yaml")
