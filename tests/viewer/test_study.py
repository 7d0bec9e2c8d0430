from pathlib import Path

import pytest
from tests.viewer.conftest import WITH_IMAGES, Client, SeenStudy
from typer.testing import CliRunner

from sparra.cli import app
from sparra.errors import UserError
from sparra.study.layout import StudyLayout
from sparra.viewer.server import viewer
from sparra.viewer.study import ViewedStudy, find_study


def test_a_study_is_found_by_its_file_or_its_output(seen_study: SeenStudy, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("cohort: {subjects: s.csv, images: i.csv, time_unit: days}\noutput: results\n")
    assert find_study(file) == StudyLayout(tmp_path / "results")
    assert find_study(tmp_path) == StudyLayout(tmp_path / "results")
    assert find_study(seen_study.layout.root) == seen_study.layout
    with pytest.raises(UserError, match="no study lies here"):
        find_study(tmp_path / "nothing")


def test_originals_are_found_through_the_images_table(seen_study: SeenStudy) -> None:
    study = ViewedStudy(seen_study.layout)
    own = {key for key, image in study.images.items() if image.record is not None}
    assert own == {("slide", seen_study.slide_key), ("ct", seen_study.ct_key)}
    assert {study.images[key].subject_id for key in own} == {WITH_IMAGES}
    # Every patient but the one that failed has a slide and a CT.
    assert len(study.images) == 2 * 12


def test_the_method_of_the_report_is_shown_first(seen_study: SeenStudy) -> None:
    facts = ViewedStudy(seen_study.layout).describe()
    method = facts["methods"][facts["method"]]
    assert (method["modality"], method["aggregator"], method["models"][0]) == ("joint", "sparra", "network")


def test_a_study_that_has_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no predictions to show"):
        ViewedStudy(StudyLayout(tmp_path))


def test_a_port_in_use_is_told_in_a_sentence(seen_study: SeenStudy) -> None:
    with viewer(seen_study.layout, "127.0.0.1", 0) as server:
        port = server.server_address[1]
        taken = pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}")
        with taken, viewer(seen_study.layout, "127.0.0.1", port):
            pass
    with pytest.raises(UserError, match="cannot listen on"), viewer(seen_study.layout, "no such host", 0):
        pass


def test_it_starts_where_the_system_does_not_tell_which_processors_are_free(
    seen_study: SeenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    with viewer(seen_study.layout, "127.0.0.1", 0) as server:
        assert server.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("kind", [KeyError, ValueError, IndexError, TypeError])
def test_an_error_of_the_viewer_is_no_missing_page_and_leaves_a_line_without_ids(
    seen_study: SeenStudy,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type[Exception],
) -> None:
    def broken(*_: object) -> None:
        raise kind(WITH_IMAGES)

    monkeypatch.setattr(client.server.routes._study, "patients", broken)
    assert client.status("/patients/joint/sparra/network") == 500
    (record,) = caplog.records
    assert f"{kind.__name__} in test_study.py" in record.getMessage()
    assert WITH_IMAGES not in record.getMessage()


def test_the_command_is_there() -> None:
    help_text = CliRunner().invoke(app, ["view", "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"}).output
    assert "--host" in help_text
    assert "token" in help_text
