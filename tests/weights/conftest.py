from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Conversions and searches stay in the test's own folder."""
    monkeypatch.setenv("SPARRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)
    return tmp_path / "cache" / "weights"
