import base64
import re
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from sparra.bags.store import read_bag, write_bag
from sparra.cohort.tables import subject_key
from sparra.files import write_json
from sparra.report.page import write_report
from sparra.report.settings import ReportSettings
from sparra.study.layout import StudyLayout

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects elements and text, and fails on tags that do not close one another."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(layout: StudyLayout, settings: ReportSettings | None = None) -> Page:
    return Page(write_report(layout, settings).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(joint_study: StudyLayout) -> Page:
    return page_of(joint_study)


@pytest.fixture
def study_copy(joint_study: StudyLayout, tmp_path: Path) -> StudyLayout:
    shutil.copytree(joint_study.root, tmp_path / "copy")
    return StudyLayout(tmp_path / "copy")


def test_every_picture_is_inside_and_shows_something(page: Page) -> None:
    images = page.all("img")
    # Three bar charts, four band charts, three Kaplan–Meier panels, CT and slide of two patients.
    assert len(images) == 3 + 4 + 3 + 4
    for image in images:
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/png;base64"
        pixels = np.asarray(Image.open(BytesIO(base64.b64decode(data, validate=True))).convert("L"))
        assert min(pixels.shape) > 200
        assert pixels.std() > 5
        assert image["alt"]


def test_nothing_is_fetched_from_elsewhere(page: Page, joint_study: StudyLayout) -> None:
    assert not page.all("link")
    assert not page.all("script")
    sources = [a[key] or "" for _, a in page.elements for key in ("src", "href", "srcset", "data") if key in a]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    html = joint_study.report.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?:", html)


def test_hostile_names_are_text(page: Page) -> None:
    assert f"Highest risk: {EVIL}" in page.text
    assert "Planted <b>biomarker</b>" in page.text
    assert not page.all("b")


def test_headings_descend_without_gaps_and_anchors_exist(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"] for attributes in page.all("a")]
    assert {(link or "").removeprefix("#") for link in links} <= set(ids)
    assert page.all("html")[0]["lang"] == "en"


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert len(page.all("caption")) == len(page.all("table")) == 4
    assert all("scope" in header for header in page.all("th"))


def test_results_and_failures_are_told(page: Page, joint_study: StudyLayout) -> None:
    metrics = pd.read_csv(joint_study.metrics)
    chosen = metrics.query("modality == 'joint' and aggregator == 'sparra' and metric == 'c_index'")
    for mean in chosen.groupby("model")["value"].mean():
        assert f"{mean:.3f}" in page.text
    assert "N/A" in page.text
    assert "FSVM predicts no survival function" in page.text
    for words in ("the mask is empty", "Draw the tumour", "Research use only", "torch: 2.13.0"):
        assert words in page.text


def test_table_is_written_as_data_too(page: Page, joint_study: StudyLayout) -> None:
    table = pd.read_csv(joint_study.report.parent / "table1.csv").set_index(["modality", "aggregator", "metric"])
    metrics = pd.read_csv(joint_study.metrics)
    truth = metrics.groupby(["modality", "aggregator", "metric", "model"])["value"]
    for model in ("RSF", "CoxPH", "network"):
        means, deviations = (series.xs(model, level="model") for series in (truth.mean(), truth.std()))
        pd.testing.assert_series_equal(table[model].sort_index(), means.sort_index(), check_names=False)
        pd.testing.assert_series_equal(table[f"{model} SD"].sort_index(), deviations.sort_index(), check_names=False)


def test_number_of_mapped_patients_is_a_setting(joint_study: StudyLayout, tmp_path: Path) -> None:
    few = page_of(joint_study, ReportSettings(patients_per_extreme=0))
    assert len(few.all("img")) == 3 + 4 + 3
    assert "There are no maps" in few.text


def test_an_imported_bag_gets_a_sentence_in_place_of_its_map(study_copy: StudyLayout) -> None:
    path = study_copy.bag("slide", f"{subject_key(EVIL)}-0")
    write_bag(path, read_bag(path))
    page = page_of(study_copy)
    assert len(page.all("img")) == 3 + 4 + 3 + 3
    assert "No map of the slide: its features came without a picture of the image." in page.text


def test_without_any_picture_the_page_tells_of_none(page: Page, study_copy: StudyLayout) -> None:
    scale = "Each picture has a colour scale of its own"
    assert scale in page.text
    for path in study_copy.root.glob("features/*/*.h5"):
        write_bag(path, read_bag(path))
    html = page_of(study_copy)
    assert scale not in html.text
    assert "The checks hold the importance of the nodes against the model itself, which needs no picture." in html.text


def test_lost_and_damaged_files_get_sentences(study_copy: StudyLayout) -> None:
    study_copy.graph("ct", subject_key(EVIL)).unlink()
    study_copy.bag("slide", f"{subject_key(EVIL)}-0").write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    page = page_of(study_copy)
    assert len(page.all("img")) == 3 + 4 + 3 + 2
    assert "the graph is not there any more" in page.text
    assert "No map of the slide" in page.text


def test_a_modality_that_the_patient_lacks_is_named(study_copy: StudyLayout) -> None:
    for path in study_copy.root.glob("models/joint/sparra/fold-*/importance.safetensors"):
        save_file({k: v for k, v in load_file(path).items() if not k.startswith("ct/")}, path)
    page = page_of(study_copy)
    assert len(page.all("img")) == 3 + 4 + 3 + 2
    assert page.text.count("The model used no CT of this patient.") == 2


def test_a_study_of_one_modality_without_models(study_copy: StudyLayout) -> None:
    for path in (study_copy.metrics, study_copy.predictions):
        table = pd.read_csv(path)
        table[table["modality"] == "slide"].to_csv(path, index=False)
    shutil.rmtree(study_copy.root / "models")
    study_copy.failures.unlink()
    page = page_of(study_copy)
    assert len(page.all("img")) == 1 + 4 + 3
    assert "Nothing failed." in page.text
    assert "There are no maps" in page.text


def test_an_empty_folder_makes_a_page_that_says_so(tmp_path: Path) -> None:
    page = page_of(StudyLayout(tmp_path / "nothing"))
    assert not page.all("img")
    assert "This study has not been evaluated." in page.text
    assert "not recorded" in page.text


def test_files_are_listed_with_their_hashes(page: Page, joint_study: StudyLayout) -> None:
    for path in (joint_study.metrics, joint_study.predictions, joint_study.settings):
        assert sha256(path.read_bytes()).hexdigest() in page.text
    assert "margin_mm: 10.0" in page.text


def test_intervals_are_shown_where_the_study_has_them(page: Page, study_copy: StudyLayout) -> None:
    assert "95 % intervals of the C-index" not in page.text
    rows = [
        ["joint", "sparra", "CoxPH", 0.7123, 0.6011, 0.8044, ""],
        ["ct", "mean", "RSF", None, None, None, "no pairs"],
    ]
    columns = ["modality", "aggregator", "model", "c_index", "lower", "upper", "reason"]
    pd.DataFrame(rows, columns=columns).to_csv(study_copy.intervals, index=False)
    text = page_of(study_copy).text
    assert "0.712 0.601 to 0.804" in text
    assert "N/A: no pairs" in text


def test_intervals_of_the_comparators_stand_beside_the_methods(study_copy: StudyLayout) -> None:
    path = study_copy.comparator_table("c_index_intervals")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["modality", "aggregator", "model", "c_index", "lower", "upper", "reason"]
    rows = [
        ["clinical", "clinical", "Cox", 0.7281, 0.6602, 0.7983, ""],
        ["clinical + slide", "sparra", "Cox", 0.7187, 0.6504, 0.7887, ""],
    ]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    text = page_of(study_copy).text
    assert "Clinical – Cox 0.728 0.660 to 0.798" in text
    assert "Clinical + slides SPARRA Cox 0.719 0.650 to 0.789" in text


def test_the_caption_of_the_groups_says_where_the_cut_comes_from(page: Page, study_copy: StudyLayout) -> None:
    assert "the cut between the groups comes from the training part of the fold" in page.text
    write_json(study_copy.settings, {"protocol": "paper"})
    assert "the cut between the groups is the mean of the pooled test risks, as published" in page_of(study_copy).text


def test_added_value_stands_on_the_page(page: Page, study_copy: StudyLayout) -> None:
    assert "Do the images add" not in page.text
    row = {"modality": "slide", "aggregator": "sparra", "covariates": "age stage", "n_subjects": 40, "n_events": 20}
    row |= {"chi_square": 1.07, "df": 1, "p": 0.44, "hazard_ratio": 1.13, "lower": 0.9, "upper": 1.42, "reason": ""}
    pd.DataFrame([row]).to_csv(study_copy.added_value, index=False)
    assert "SPARRA on slides, beside age, stage: likelihood ratio 1.07" in page_of(study_copy).text
