"""The pages that show each architecture as one plain file in both frameworks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from resnet_spec import ARCHITECTURES

from parity_tests.site.chromium import chromium
from parity_tests.site.test_browser import Reader
from parity_tests.site.test_browser import pytestmark as needs_chromium
from resnet_parity.eject import FRAMEWORKS, eject
from resnet_parity.site import one_file
from resnet_parity.site.results import SITE


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The page of one architecture, opened without a network."""
    with chromium() as browser:
        reader = Reader(browser.new_context(offline=True, accept_downloads=True))
        yield reader.open("one_file/resnet18")
        assert reader.complaints == []


def in_browser(test):
    for mark in needs_chromium:
        test = mark(test)
    return test


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_page_shows_both_files_whole(name):
    columns = one_file.files(name)
    for framework in FRAMEWORKS:
        lines = [line for line in columns.lines[framework] if line]
        assert "".join(f"{line.text}\n" for line in lines) == eject(name, framework)
        assert [line.number for line in lines] == [*range(1, len(lines) + 1)]
        assert all(line.html for line in lines if line.text)
    assert f"{columns.files['torch']}" in (SITE / f"one_file/{name}.html").read_text("utf-8")


def test_the_order_of_learning_leads_from_page_to_page():
    names = [*one_file.ORDER]
    pages = [(SITE / f"one_file/{name}.html").read_text("utf-8") for name in names]
    for earlier, later, text, following in zip(names, names[1:], pages, pages[1:], strict=False):
        assert f'href="{later}.html"' in text and f'href="{earlier}.html"' in following


@in_browser
def test_a_column_is_downloaded_as_a_file(page, tmp_path):
    for framework in FRAMEWORKS:
        with page.expect_download() as found:
            page.locator(f"button.download[data-side={framework}]").click()
        path = Path(tmp_path, found.value.suggested_filename)
        found.value.save_as(path)
        assert path.name == f"resnet18_{framework}.py"
        assert path.read_text("utf-8") == eject("resnet18", framework)


@in_browser
def test_another_architecture_is_chosen(page):
    page.select_option("#net", "seresnet50")
    page.wait_for_url("**/one_file/seresnet50.html")
    assert page.locator("h1").text_content() == "seresnet50 as one file"


@in_browser
def test_the_explorer_leads_to_the_page_of_its_architecture(page):
    page.goto((SITE / "spec.html").as_uri())
    page.select_option("#net", "resnetv2_50")
    page.locator("#one-file").click()
    page.wait_for_url("**/one_file/resnetv2_50.html")
    assert page.locator("h1").text_content() == "resnetv2_50 as one file"
