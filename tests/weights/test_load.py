from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.weights import Layout, NetworkOptions, WeightsSource, load_network

SOURCE = WeightsSource("tiny", "tiny.pth", "https://example.org")
LAYOUT = Layout(("model",))


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = tiny()
    network[1].running_mean.fill_(0.5)
    torch.save({"model": network.state_dict(), "epoch": 3}, tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def test_the_network_computes_with_the_published_numbers(published: Path) -> None:
    loaded = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    expected = tiny().eval()
    expected.load_state_dict(torch.load(published, weights_only=True)["model"])
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded.run(rows), expected(rows).detach())
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert loaded.provenance == {
        "key": "tiny",
        "file": "tiny.pth",
        "sha256": sha256_of(published),
        "origin": "file",
        "device": "cpu",
        "precision": "float32",
    }


def test_it_is_converted_once_and_the_conversion_serves_alone(published: Path, cache: Path) -> None:
    options = NetworkOptions(weights=str(published), device="cpu")
    first = load_network(tiny, SOURCE, LAYOUT, options)
    assert load_network(tiny, SOURCE, LAYOUT, options) is first
    (copy,) = cache.iterdir()
    with safe_open(copy, "pt") as file:
        assert file.metadata()["sha256"] == sha256_of(published)
    alone = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(copy), device="cpu"))
    assert alone.provenance["sha256"] == first.provenance["sha256"]
    rows = torch.ones(2, 3)
    assert torch.equal(alone.run(rows), first.run(rows))


def test_a_conversion_is_believed_in_the_cache_alone(published: Path, cache: Path) -> None:
    source = WeightsSource("tiny", "tiny.pth", "https://example.org", sha256=sha256_of(published))
    first = load_network(tiny, source, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    (copy,) = cache.iterdir()
    alone = load_network(tiny, source, LAYOUT, NetworkOptions(weights=str(copy), device="cpu"))
    assert alone.provenance["sha256"] == source.sha256
    forged = published.with_name("forged.safetensors")
    forged.write_bytes(copy.read_bytes())
    with pytest.raises(UserError, match=r"forged\.safetensors.*lie outside its cache"):
        load_network(tiny, source, LAYOUT, NetworkOptions(weights=str(forged), device="cpu"))
    options = NetworkOptions(weights=str(forged), device="cpu", check_sha256=False)
    unchecked = load_network(tiny, source, LAYOUT, options)
    assert unchecked.provenance["sha256"] == sha256_of(forged)
    rows = torch.ones(2, 3)
    assert torch.equal(unchecked.run(rows), first.run(rows))


def test_the_cache_is_used_for_the_same_content_and_not_for_another(published: Path, cache: Path) -> None:
    load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    (copy,) = cache.iterdir()
    before = copy.stat().st_mtime_ns
    again = published.with_name("moved.pth")
    again.write_bytes(published.read_bytes())
    load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(again), device="cpu"))
    assert copy.stat().st_mtime_ns == before
    other = tiny().state_dict()
    torch.save({"model": other}, published)
    loaded = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    assert torch.equal(loaded.network.state_dict()["0.weight"], other["0.weight"])
    assert len(list(cache.iterdir())) == 2


def test_a_digest_that_is_not_the_published_one_is_refused(published: Path) -> None:
    source = WeightsSource("tiny", "tiny.pth", "https://example.org", sha256="0" * 64)
    with pytest.raises(UserError, match=f"{sha256_of(published)}, published is 000.*check_sha256: false"):
        load_network(tiny, source, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    unchecked = NetworkOptions(weights=str(published), device="cpu", check_sha256=False)
    load_network(tiny, source, LAYOUT, unchecked)
    right = WeightsSource("tiny", "tiny.pth", "https://example.org", sha256=sha256_of(published))
    load_network(tiny, right, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))


def test_a_checkpoint_of_another_shape_leaves_nothing_in_the_cache(published: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"'0.weight' has \(2, 3\), not \(2, 4\)"):
        load_network(
            lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)),
            SOURCE,
            LAYOUT,
            NetworkOptions(weights=str(published), device="cpu"),
        )
    assert not cache.exists() or not list(cache.iterdir())


def test_without_a_place_for_the_cache_it_goes_on(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRA_CACHE", "/proc/nowhere")
    loaded = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(published), device="cpu"))
    assert loaded.run(torch.ones(2, 3)).shape == (2, 2)


def test_an_absent_device_is_one_sentence(published: Path) -> None:
    for device in ("cuda:9", "nonsense", "meta"):
        with pytest.raises(UserError, match=f"'{device}' is not there"):
            load_network(tiny, SOURCE, LAYOUT, NetworkOptions(weights=str(published), device=device))


def test_mixed_precision_computes_in_it_and_gives_float32(published: Path) -> None:
    options = {"weights": str(published), "device": "cpu"}
    half = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(precision="bfloat16", **options))
    full = load_network(tiny, SOURCE, LAYOUT, NetworkOptions(**options))
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    found, expected = half.run(rows), full.run(rows)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05
