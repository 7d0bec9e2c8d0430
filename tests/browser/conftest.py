"""A headless Chromium, and pages that keep every error they had."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.viewer.conftest import Client, SeenStudy, seen_study, serve  # noqa: F401 - a fixture

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
#: Contrast (WCAG 2) of every visible text against the nearest background that is painted.
CONTRASTS = (Path(__file__).parent / "contrast.js").read_text()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        # The sandbox needs what containers seldom allow; the pages are our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page and what it did.

    Attributes
    ----------
    requests : list of str
        Addresses asked for.
    errors : list of str
        Console errors and warnings, exceptions, failed requests, dialogs.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def low_contrasts(self) -> list[str]:
        """Texts with a contrast below 4.5, or 3 where they are large."""
        return self.page.evaluate(CONTRASTS)

    def heading_levels(self) -> list[int]:
        return self.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => Number(h.tagName[1]))")


def complaint(message: Any) -> list[str]:
    """What a console message complains of; not of the tests' own reading of pixels."""
    wrong = message.type in ("error", "warning") and "willReadFrequently" not in message.text
    return [message.text] if wrong else []


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Any]:
    contexts = []

    def open_at(url: str, width: int, height: int = 900) -> Seen:
        context = chromium.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        seen = Seen(context.new_page())
        page = seen.page
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.errors.extend(complaint(message)))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("requestfailed", lambda request: seen.errors.append(f"failed: {request.url}"))
        page.on("dialog", lambda dialog: (seen.errors.append("a dialog"), dialog.dismiss()))
        page.on("response", lambda r: r.status >= 400 and seen.errors.append(f"{r.status} {r.url}"))
        page.goto(url)
        return seen

    yield open_at
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def client(seen_study: SeenStudy) -> Iterator[Client]:  # noqa: F811
    yield from serve(seen_study.layout)
