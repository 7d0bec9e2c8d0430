"""The same study gives the same tables by every engine."""

from pathlib import Path

import pytest
from benchmarks.engines import contents, differences, make_study, run_by
from benchmarks.parts.clusters import why_no_slurm

NO_SLURM = why_no_slurm()
SAID = {"scheduler": "scheduler: tcp://", "slurm": "Slurm: 2 jobs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    ["local", "scheduler", pytest.param("slurm", marks=pytest.mark.skipif(bool(NO_SLURM), reason=NO_SLURM or ""))],
)
def test_a_study_of_images_gives_bit_equal_files_by_every_engine(engine: str, of_images: Path) -> None:
    expected = contents(of_images / "serial")
    assert sum(name.endswith(".csv") for name in expected) > 40
    assert differences(expected, contents(run_by(engine, of_images))) == []
    said = (of_images / f"{engine}.log").read_text()
    assert [name for name, words in SAID.items() if words in said] == [name for name in SAID if name == engine]


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    make_study(folder, subjects=8)
    run_by("serial", folder)
    return folder
