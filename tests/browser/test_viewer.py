"""The viewer as a person uses it."""

import io
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.report.conftest import EVIL
from tests.viewer.conftest import WITH_IMAGES, WITHOUT_PICTURES, Client, SeenStudy

from sparra.viewer.colours import palette

pytestmark = pytest.mark.browser
HOTTEST = list(palette()[-3:])
CT_PIXELS = """() => {
  const canvas = document.getElementById('ct');
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def show(open_page: Any, client: Client, width: int = 1280) -> Any:
    seen = open_page(f"{client.server.url}#{WITH_IMAGES}", width)
    seen.page.wait_for_selector("#ct[data-slice]")
    seen.page.wait_for_function("() => document.querySelector('#slide-bar span').textContent !== ''")
    seen.page.wait_for_load_state("networkidle")
    return seen


def slide_shot(page: Any) -> np.ndarray:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)  # the zoom's animation
    return np.asarray(Image.open(io.BytesIO(page.locator("#slide").screenshot())).convert("RGB")).astype(int)


def hot_pixels(shot: np.ndarray) -> int:
    return int((np.abs(shot - HOTTEST).max(axis=-1) <= 2).sum())


def set_range(page: Any, name: str, value: int) -> None:
    page.locator(name).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_everything_is_drawn_without_an_error(open_page: Any, client: Client, width: int) -> None:
    seen = show(open_page, client, width)
    page = seen.page
    assert seen.overflow() == 0
    assert slide_shot(page).std() > 10
    assert np.std(page.evaluate(CT_PIXELS)) > 10
    assert page.locator("#curves path").count() == 2
    assert page.locator("#curves circle").count() == 1
    assert page.locator("#facts dd").count() == 6
    assert page.locator("#rows tr").count() == 12
    assert seen.errors == []
    own = client.server.url
    assert all(address.startswith((own, "data:", "blob:")) for address in seen.requests)


def test_importance_fades_in_and_out(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    page = seen.page
    set_range(page, "#slide-opacity", 0)
    without = slide_shot(page)
    set_range(page, "#slide-opacity", 100)
    whole = slide_shot(page)
    assert hot_pixels(without) == 0
    assert hot_pixels(whole) > 100
    pixels = {}
    for value in (0, 50, 100):
        set_range(page, "#ct-opacity", value)
        pixels[value] = np.asarray(page.evaluate(CT_PIXELS)).reshape(-1, 4)[:, :3].astype(int)
    assert (pixels[0][:, 0] == pixels[0][:, 1]).all()  # grey
    hot = (pixels[100] == HOTTEST).all(axis=1)
    assert hot.sum() >= 40
    np.testing.assert_allclose(pixels[50][hot], (pixels[0][hot] + HOTTEST) / 2, atol=1.5)
    assert seen.errors == []


def test_the_slide_zooms_by_wheel_button_and_key(open_page: Any, client: Client, seen_study: SeenStudy) -> None:
    seen = show(open_page, client)
    page, bar = seen.page, seen.page.locator("#slide-bar span")
    info = f"/slide/{seen_study.slide_key}/info.json?modality=joint&aggregator=sparra"
    last = json.loads(client.body(info))["last_level"]
    fine = f"/slide/{seen_study.slide_key}/picture/{last}/"
    first = bar.inner_text()
    page.locator("#slide").hover()
    for _ in range(50):
        page.mouse.wheel(0, -300)  # The first may come before a busy browser has laid the page out.
        page.wait_for_timeout(200)
        if bar.inner_text() != first:
            break
    assert bar.inner_text() != first
    page.wait_for_load_state("networkidle")
    assert any(fine in address for address in seen.requests)
    page.get_by_label("Whole slide").click()
    page.wait_for_function("([b, t]) => document.querySelector(b).textContent === t", arg=["#slide-bar span", first])
    page.get_by_label("Zoom in").click()
    page.get_by_label("Zoom in").click()
    page.wait_for_function("([b, t]) => document.querySelector(b).textContent !== t", arg=["#slide-bar span", first])
    page.get_by_label("Whole slide").click()
    page.wait_for_timeout(700)
    assert bar.inner_text() == first
    page.locator("#slide .openseadragon-canvas").focus()
    for _ in range(4):
        page.keyboard.press("+")
    page.wait_for_function("([b, t]) => document.querySelector(b).textContent !== t", arg=["#slide-bar span", first])
    page.get_by_label("Go to the most important tile").click()
    set_range(page, "#slide-opacity", 100)
    shot = slide_shot(page)
    middle = shot[shot.shape[0] // 2, shot.shape[1] // 2]
    assert np.abs(middle - HOTTEST).max() <= 2
    assert seen.errors == []


def test_the_ct_scrolls_by_wheel_key_and_slider_in_every_plane(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    page, canvas = seen.page, seen.page.locator("#ct")

    def slice_shown(wanted: int) -> None:
        page.wait_for_function("n => document.getElementById('ct').dataset.slice == n", arg=wanted)

    start = int(canvas.get_attribute("data-slice"))
    before = page.evaluate(CT_PIXELS)
    canvas.hover()
    page.mouse.wheel(0, -100)
    slice_shown(start + 1)
    assert page.evaluate(CT_PIXELS) != before
    page.mouse.wheel(0, 100)
    slice_shown(start)
    assert page.evaluate(CT_PIXELS) == before
    canvas.focus()
    page.keyboard.press("ArrowUp")
    slice_shown(start + 1)
    page.keyboard.press("Home")
    slice_shown(0)
    page.keyboard.press("End")
    slice_shown(13)
    page.locator("#slice").focus()
    page.keyboard.press("ArrowLeft")
    slice_shown(12)
    for plane, count in (("coronal", 40), ("sagittal", 48)):
        page.locator("#plane").select_option(plane)
        page.wait_for_function("t => document.getElementById('ct-where').textContent.endsWith(t)", arg=f"of {count}")
        canvas.focus()
        page.keyboard.press("End")
        slice_shown(count - 1)
    shown = page.evaluate(CT_PIXELS)
    page.locator("#window").select_option("Lung")
    page.wait_for_function(f"old => ({CT_PIXELS})().some((v, i) => v !== old[i])", arg=shown)
    page.locator("#ct-focus").click()
    page.locator("#plane").select_option("axial")
    slice_shown(start)
    assert seen.errors == []


def test_a_slice_keeps_the_proportions_of_the_patient(open_page: Any, client: Client) -> None:
    page = show(open_page, client).page
    page.locator("#plane").select_option("coronal")
    page.wait_for_function("() => document.getElementById('ct-where').textContent.startsWith('Coronal')")
    box = page.locator("#ct").bounding_box()
    assert box["width"] / box["height"] == pytest.approx((48 * 0.8) / (14 * 2.5), rel=0.01)


def test_patients_are_sorted_searched_and_chosen(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    page = seen.page

    def column(number: int) -> list[str]:
        return page.locator(f"#rows tr > :nth-child({number})").all_inner_texts()

    risks = [float(text) for text in column(2)]
    assert risks == sorted(risks, reverse=True)
    assert page.locator("th[data-sort=percentile]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Time").click()
    times = [float(text) for text in column(4)]
    assert times == sorted(times, reverse=True)
    page.get_by_role("button", name="Time").click()
    assert [float(text) for text in column(4)] == times[::-1]
    assert page.locator("th[data-sort=time]").get_attribute("aria-sort") == "ascending"
    assert page.locator("th[data-sort=percentile]").get_attribute("aria-sort") == "none"
    page.get_by_label("Find a patient").fill("p00")
    assert set(column(1)) == {f"P00{i}" for i in range(1, 10)}
    page.get_by_role("button", name="P004").click()
    assert page.locator("#patient-name").inner_text() == "P004"
    assert page.locator("#rows tr[aria-current=true]").inner_text().startswith("P004")
    page.wait_for_selector("text=small picture kept with the features")
    page.wait_for_load_state("networkidle")
    assert seen.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_features_without_a_picture_are_told_without_an_error(open_page: Any, client: Client, width: int) -> None:
    seen = show(open_page, client, width)
    page = seen.page
    page.get_by_role("button", name=WITHOUT_PICTURES).click()
    for kind in ("slide", "ct"):
        page.wait_for_function(
            "n => document.getElementById(n).textContent.startsWith('Only the features')", arg=f"{kind}-absent"
        )
        assert page.locator(f"#{kind}-absent").is_visible()
        assert page.locator(f"#{kind}-tools").is_hidden()
        assert page.locator(f"#{kind}-verdict").is_hidden()
    page.get_by_role("button", name=WITH_IMAGES).click()
    page.wait_for_selector("#ct[data-slice]:visible")
    assert page.locator("#slide-tools").is_visible()
    assert page.locator("#ct-tools").is_visible()
    assert seen.errors == []


def test_an_id_is_text_whatever_it_holds(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    seen.page.get_by_role("button", name=EVIL).click()
    assert seen.page.locator("#patient-name").inner_text() == EVIL
    seen.page.wait_for_load_state("networkidle")
    assert seen.errors == []


def test_another_method_ranks_anew(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    page = seen.page
    page.locator("#method").select_option(label="Mean on CT")
    page.wait_for_selector("#slide-note:not(:empty)")
    assert page.locator("#slide-legend").is_hidden()
    page.locator("#model").select_option("CoxPH")
    page.wait_for_load_state("networkidle")
    assert page.locator("#rows tr").count() == 12
    assert page.locator("#patient-name").inner_text() == WITH_IMAGES
    assert seen.errors == []


def test_it_can_be_used_and_read_without_seeing_it(open_page: Any, client: Client) -> None:
    seen = show(open_page, client)
    page = seen.page
    assert seen.low_contrasts() == []
    levels = seen.heading_levels()
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for role in ("banner", "navigation", "main"):
        assert page.get_by_role(role).count() == 1
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select,input')].filter(e => !e.labels.length).map(e => e.id)"
    )
    assert unnamed == []
    assert "slice" in page.locator("#ct").get_attribute("aria-label")
    page.evaluate("document.body.focus()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
