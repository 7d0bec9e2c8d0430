"""The same study gives the same tables by every engine."""

from pathlib import Path

import pytest
from benchmarks.engines import contents, differences, make_study, run_by
from benchmarks.parts.clusters import why_no_slurm
from distributed import LocalCluster
from tests.engine.conftest import BagStudy

NO_SLURM = why_no_slurm()


@pytest.fixture(scope="module")
def address() -> str:
    """A scheduler with two workers on loopback, in this process."""
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(**settings, protocol="tcp", host="127.0.0.1", silence_logs=40) as cluster:
        yield cluster.scheduler_address


def test_local_workers_and_a_scheduler_give_what_one_process_gives(
    undisturbed: BagStudy, tmp_path: Path, address: str
) -> None:
    expected = undisturbed.contents
    assert {"evaluation/metrics.csv", "evaluation/predictions.csv", "failures.csv"} <= expected.keys()
    for engine in ("local", address):
        study = undisturbed.again(tmp_path / engine[:5])
        code, told = study.run("--engine", engine)
        assert code == 0, told
        assert ("scheduler: tcp://" in told) == (engine != "local")
        assert differences(expected, study.contents) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    ["local", "scheduler", pytest.param("slurm", marks=pytest.mark.skipif(bool(NO_SLURM), reason=NO_SLURM or ""))],
)
def test_a_study_of_images_gives_bit_equal_files_by_every_engine(engine: str, of_images: Path) -> None:
    expected = contents(of_images / "serial")
    assert sum(name.endswith(".csv") for name in expected) > 40
    assert differences(expected, contents(run_by(engine, of_images))) == []


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    make_study(folder, subjects=8)
    run_by("serial", folder)
    return folder
