"""The report as a person reads it: alone in a folder, without a network."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.report.conftest import build_study

from sparra.report.page import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    page = write_report(build_study(folder / "study"))
    alone = folder / "alone" / "index.html"
    alone.parent.mkdir()
    shutil.copy(page, alone)
    return alone


@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_drawn_and_nothing_is_asked_of_the_network(open_page: Any, page_file: Path, width: int) -> None:
    seen = open_page(page_file.as_uri(), width)
    page = seen.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    sizes = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(sizes) >= 10
    assert all(complete and size > 50 and alt > 10 for complete, size, alt in sizes)
    assert seen.overflow() == 0
    assert seen.errors == []
    assert [address for address in seen.requests if not address.startswith(("file:", "data:"))] == []


def test_sections_fold_and_are_open_on_paper(open_page: Any, page_file: Path) -> None:
    page = open_page(page_file.as_uri(), 1280).page
    hidden = """[...document.querySelectorAll('details > :not(summary)')].filter(
        e => !e.checkVisibility({contentVisibilityAuto: true}) || e.getBoundingClientRect().height === 0).length"""
    assert page.evaluate("document.querySelectorAll('details').length") >= 5
    folded = page.evaluate("document.querySelectorAll('details:not([open])').length")
    assert folded >= 3
    assert page.evaluate(hidden) >= 3
    first = page.locator("details:not([open]) > summary").first
    first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == folded - 1
    page.emulate_media(media="print")
    assert page.evaluate(hidden) == 0
    assert len(page.pdf(format="A4")) > 50_000


def test_tables_fit_between_the_margins_of_a_page(open_page: Any, page_file: Path) -> None:
    seen = open_page(page_file.as_uri(), 703)  # A4 without 12 mm on either side, at 96 px an inch
    seen.page.emulate_media(media="print")
    assert seen.page.locator("table.results").evaluate("e => getComputedStyle(e.parentElement).overflowX") == "visible"
    assert seen.overflow() == 0


def test_a_page_on_paper_is_laid_out_for_paper(open_page: Any, page_file: Path) -> None:
    page = open_page(page_file.as_uri(), 703).page
    page.emulate_media(media="print")
    tops = page.evaluate("[...document.querySelectorAll('.flow > li')].map(e => e.offsetTop)")
    assert len(tops) == 4
    assert len(set(tops)) == 1
    # A heading, a fold's title or a caption never stays behind on the page before.
    kept = """[...document.querySelectorAll('h2, h3, summary, caption')].filter(
        e => getComputedStyle(e).breakAfter !== 'avoid').map(e => e.textContent)"""
    assert page.evaluate(kept) == []
    # Two figures of full width fit on a page of A4 without its margins, 267 mm.
    heights = page.evaluate(
        "[...document.querySelectorAll('section:not(#maps) .wide img')].map(e => e.offsetHeight / 96 * 25.4)"
    )
    assert heights
    assert max(heights) < 130
    widths = "[...document.querySelectorAll('.checklist thead th')].map(e => e.offsetWidth)"
    guideline, section, item, report = page.evaluate(widths)
    assert item > guideline
    assert item > section
    assert item > 0.3 * (guideline + section + item + report)


def test_it_can_be_read_without_seeing_it(open_page: Any, page_file: Path) -> None:
    seen = open_page(page_file.as_uri(), 1280)
    page = seen.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert seen.low_contrasts() == []
    levels = seen.heading_levels()
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(t => t.scope)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    targets = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.querySelector(a.hash))"
    )
    assert targets
