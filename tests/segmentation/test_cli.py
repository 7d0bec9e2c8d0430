from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparra.cli import app
from sparra.errors import UserError
from sparra.segmentation.cli import resolve_settings
from sparra.segmentation.settings import SegmentationSettings


def test_options_go_before_the_file_which_goes_before_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "segment.yaml"
    path.write_text("epochs: 7\nnetwork: {init_filters: 16}\n")
    settings = resolve_settings("small", path, {"spacing_mm": 3.0})
    assert (settings.epochs, settings.spacing_mm, settings.patch_voxels) == (7, 3.0, 32)
    assert (settings.network.init_filters, settings.network.blocks_down) == (16, (1, 1, 1))
    assert resolve_settings("kits23", None, {}) == SegmentationSettings()


def test_what_is_not_valid_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'kits23'"):
        resolve_settings("kits", None, {})
    with pytest.raises(UserError, match="cannot be read"):
        resolve_settings("small", tmp_path / "none.yaml", {})
    with pytest.raises(UserError, match="precision"):
        resolve_settings("small", None, {"precision": "half"})


def test_every_command_has_its_help() -> None:
    for command in ("train", "predict", "review", "convert", "simulate"):
        result = CliRunner().invoke(app, ["segment", command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output
