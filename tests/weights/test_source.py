import sys
from pathlib import Path
from types import ModuleType

import pytest

from sparra.errors import UserError
from sparra.weights.source import WeightsSource, find_weights

SOURCE = WeightsSource("net", "model.bin", "https://example.org/net", "lab/net", "v1", gated=True)


class FakeHubError(Exception):
    """No OSError, as the errors of the HTTP library under the Hub's client are none."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """A Hub that gives one repository and refuses the others, and what was asked of it."""
    asked: list[tuple[str, str, str]] = []

    def download(repository: str, file: str, revision: str) -> str:
        asked.append((repository, file, revision))
        if repository == "lab/broken":
            raise FakeHubError("")
        if repository != "lab/net":
            raise FakeHubError("403 Forbidden: access to this repository is restricted")
        path = tmp_path / "hub" / "snapshots" / "0123abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return str(path)

    module = ModuleType("huggingface_hub")
    module.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_a_path_a_folder_and_the_folder_of_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"1")
    assert find_weights(SOURCE, str(file)).path == file
    assert find_weights(SOURCE, str(tmp_path)).path == file
    monkeypatch.setenv("SPARRA_WEIGHTS", str(tmp_path / "all"))
    with pytest.raises(UserError, match="not on this machine"):
        find_weights(SOURCE, None)
    for place in ("net.safetensors", "net/model.bin"):
        (tmp_path / "all" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / place).write_bytes(b"2")
        assert find_weights(SOURCE, None).path == tmp_path / "all" / place


def test_missing_weights_say_in_one_sentence_how_to_get_them() -> None:
    with pytest.raises(UserError) as error:
        find_weights(SOURCE, None)
    text = str(error.value)
    assert "\n" not in text
    for part in ("'net'", "https://example.org/net", "accept its terms", "'model.bin'", "'hub'", "$SPARRA_WEIGHTS"):
        assert part in text


def test_a_pointer_of_git_lfs_is_not_taken_for_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"model\.bin: this is Git LFS's pointer to the weights of 'net'.*git lfs pull"):
        find_weights(SOURCE, str(tmp_path))


def test_a_wrong_path_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.bin"):
        find_weights(SOURCE, "/nowhere.bin")


def test_the_hub_is_asked_only_when_told_and_its_commit_is_kept(hub: list[tuple[str, str, str]]) -> None:
    with pytest.raises(UserError):
        find_weights(SOURCE, None)
    assert hub == []
    assert find_weights(SOURCE, "hub").origin == "hub:lab/net@0123abc"
    assert find_weights(SOURCE, "hub:main").path.name == "model.bin"
    assert find_weights(SOURCE, "hub::other.bin").path.name == "other.bin"
    asked = [("model.bin", "v1"), ("model.bin", "main"), ("other.bin", "v1")]
    assert hub == [("lab/net", *request) for request in asked]


@pytest.mark.usefixtures("hub")
def test_refused_access_says_how_to_get_it() -> None:
    closed = WeightsSource("closed", "model.bin", "https://example.org/closed", "lab/closed", gated=True)
    with pytest.raises(UserError, match=r"403 Forbidden.*accept its terms"):
        find_weights(closed, "hub")


@pytest.mark.usefixtures("hub")
def test_a_download_that_breaks_off_is_one_sentence() -> None:
    broken = WeightsSource("broken", "model.bin", "https://example.org/broken", "lab/broken")
    with pytest.raises(UserError, match=r"'model\.bin' of lab/broken cannot be fetched \(FakeHubError\)"):
        find_weights(broken, "hub")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"sparra\[hub\]"):
        find_weights(SOURCE, "hub:other")


def test_what_is_not_on_the_hub_is_not_sought_there() -> None:
    with pytest.raises(UserError, match="not on the Hugging Face Hub"):
        find_weights(WeightsSource("net", "a.pth", "https://example.org"), "hub")
