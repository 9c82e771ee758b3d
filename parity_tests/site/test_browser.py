"""The pages in a real browser: Chromium opens the files, without a network."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from resnet_spec import ARCHITECTURES, make_plan

from parity_tests.site.chromium import CHROMIUM, chromium
from parity_tests.support import ROOT, light
from resnet_parity.site.chapters import CHAPTERS, MORE
from resnet_parity.site.definitions import definitions
from resnet_parity.site.pages import module_columns
from resnet_parity.site.results import SITE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("CI"), reason="there is no chromium on PATH"
    ),
]

PAGES = ["index", *(chapter.id for chapter in CHAPTERS), *(id for id, _ in MORE)]
PAIRED = [chapter for chapter in CHAPTERS if chapter.modules]
WIDE, MIDDLE, PHONE = (1440, 900), (900, 800), (390, 844)
THEMES = ("light", "dark")

PIXEL = 1.5
"""The largest distance of equal positions: browsers round both to pixels."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Reader:
    """A page, and every error or warning of the browser."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("requestfailed", lambda request: self._note("error", request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def open(self, name: str, anchor: str = "") -> Page:
        self.page.goto("about:blank")
        path, _, suffix = name.partition("#")
        hash = anchor or suffix
        self.page.goto((SITE / f"{path}.html").as_uri() + (f"#{hash}" if hash else ""))
        return self.page


@pytest.fixture
def reader(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """A page without a network; the test fails if the browser logs an error or warning."""
    size, theme = getattr(request, "param", (WIDE, "light"))
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        reduced_motion="reduce",
        offline=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    made = Reader(context)
    yield made
    context.close()
    assert made.complaints == []


def at(*sizes: tuple[int, int], themes: tuple[str, ...] = ("light",)) -> Any:
    values = [(size, theme) for size in sizes for theme in themes]
    ids = [f"{size[0]}px-{theme}" for size, theme in values]
    return pytest.mark.parametrize("reader", values, indirect=True, ids=ids)


# Every page, in both themes, wide and narrow.


@at(WIDE, PHONE, themes=THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_and_fits(reader, name, request, tmp_path):
    page = reader.open(name)
    assert page.title().endswith("resnet-parity")
    assert page.locator("h1").count() == 1
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    theme = page.evaluate("document.documentElement.dataset.theme")
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    screenshot = page.screenshot(path=folder / f"{name}-{width}-{theme}.png")
    _check_screenshot(screenshot, theme)


@at(PHONE)
def test_a_phone_shows_the_names_of_several_pages(reader):
    page = reader.open("layers")
    whole = page.locator(".top ul a").evaluate_all(
        "(links) => { const list = links[0].closest('ul').getBoundingClientRect();"
        " return links.filter((each) => { const box = each.getBoundingClientRect();"
        " return box.left >= list.left - 1 && box.right <= list.right + 1; }).length; }"
    )
    assert whole >= 4
    field, brand = (page.locator(each).bounding_box() for each in ("#search", ".brand"))
    assert field["x"] > brand["x"] + brand["width"] and field["width"] > 120


def _check_screenshot(screenshot: bytes, theme: str) -> None:
    """A screenshot has contrast, on a light or a dark background."""
    image = Image.open(io.BytesIO(screenshot)).convert("L")
    paper = image.getpixel((2, image.height - 2))
    assert isinstance(paper, int) and (paper > 128) == (theme == "light")
    low, high = image.getextrema()
    assert isinstance(low, int) and isinstance(high, int) and high - low > 100


@at(WIDE, themes=THEMES)
@pytest.mark.parametrize(
    "name", light(PAGES, ["index", "spec", "layers", "evidence", "names", "resnet50"])
)
def test_every_page_is_accessible(reader, name):
    page = reader.open(name)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    violations = [
        (each["id"], each["help"], [node["target"] for node in each["nodes"][:3]])
        for each in found.response["violations"]
    ]
    assert violations == []


# Two columns whose lines share rows.

ROWS = """(pair) => [...pair.querySelectorAll('.side')].map((side) =>
    [...side.querySelectorAll(':scope > .line, :scope > .gap')].map((line) => {
        const box = line.getBoundingClientRect();
        return [box.top, box.bottom, box.left];
    }))"""


@at(WIDE, MIDDLE)
@pytest.mark.parametrize("chapter", PAIRED, ids=lambda chapter: chapter.id)
def test_columns_align(reader, chapter):
    page = reader.open(chapter.id)
    checked = 0
    for module in chapter.modules:
        for each in module_columns(module):
            sides = page.locator(f"#{each.anchor}").evaluate(ROWS)
            torch, keras = sides
            if not torch or not keras:
                continue
            assert len(torch) == len(keras) == each.rows
            for ours, theirs in zip(torch, keras, strict=True):
                assert abs(ours[0] - theirs[0]) < PIXEL, each.anchor
                assert ours[2] < theirs[2]
                checked += 1
            tops = [top for top, _, _ in torch]
            assert tops == sorted(set(tops)), "rows overlap"
    assert checked > 40


@at(PHONE, (899, 800))
def test_under_900_px_one_implementation_is_below_the_other(reader):
    page = reader.open("layers")
    torch, keras = page.locator("#layers-conv").evaluate(ROWS)
    shown = [(top, bottom) for top, bottom, _ in torch if bottom > top]
    assert max(bottom for _, bottom in shown) <= min(t for t, b, _ in keras if b > t) + PIXEL
    assert torch[0][2] == keras[0][2]


# Anchors, tags, notes, sources.


def test_a_tag_opens_its_note(reader):
    page = reader.open("layers")
    note = page.locator("#layers-conv-conv-padding")
    assert not note.evaluate("(each) => each.open")
    page.locator("#layers-conv .keras a[data-tag=conv-padding]").click()
    assert note.evaluate("(each) => each.open")
    for words in ("same", "relative error", "test_conv_padding"):
        assert words in note.inner_text()
    note.locator("a", has_text="test_conv_padding").click()
    page.wait_for_url("**/source/parity_tests.spec.test_differences.html#L*")
    assert (
        page.locator(":target")
        .inner_text()
        .split(maxsplit=1)[1]
        .startswith("def test_conv_padding")
    )


def test_a_line_number_leads_to_the_source(reader):
    page = reader.open("blocks")
    line = page.locator("#blocks-Bottleneck .side.torch .line", has_text="self.conv2 = conv(")
    text, number = line.locator("code").inner_text(), line.locator("a.n").inner_text()
    line.locator("a.n").click()
    page.wait_for_url(f"**/source/resnet_torch.blocks.html#L{number}")
    assert page.locator(f"#L{number} code").inner_text() == text
    top = page.locator(f"#L{number}").bounding_box()["y"]
    assert 0 < top < page.viewport_size["height"]


@at(WIDE, PHONE)
@pytest.mark.parametrize("name", ["resnet_torch.blocks", "resnet_spec.plan"])
def test_lines_of_a_source_do_not_overlap(reader, name):
    page = reader.open(f"source/{name}")
    tops = page.locator(".line").evaluate_all(
        "(lines) => lines.map((line) => line.getBoundingClientRect().top)"
    )
    lines = (ROOT / f"{name.replace('.', '/')}.py").read_text().splitlines()
    assert len(tops) == len(lines) and tops == sorted(set(tops))


@pytest.mark.parametrize("anchor", ["100%", "nothing", "%E0%A4"])
def test_an_unknown_anchor_is_harmless(reader, anchor):
    page = reader.open("layers", anchor)
    assert page.locator("h1").is_visible()


def test_the_anchor_of_a_note_opens_it(reader):
    page = reader.open("layers", "layers-linear-dense-kernel")
    note = page.locator("#layers-linear-dense-kernel")
    assert note.evaluate("(each) => each.open")
    assert note.is_visible()


def test_links_of_the_contents_lead_to_their_pair(reader):
    page = reader.open("model")
    page.locator(".contents summary").click()
    page.locator(".contents a", has_text="create_model").click()
    box = page.locator("#model-create_model h3").bounding_box()
    heads = page.locator(".heads").bounding_box()
    assert heads["y"] + heads["height"] - PIXEL <= box["y"] < page.viewport_size["height"]


# Copying, keys, theme, printing.


def test_copied_code_equals_the_source(reader):
    page = reader.open("blocks")
    for framework, name in (("torch", "Bottleneck"), ("keras", "bottleneck")):
        side = page.locator(f"#blocks-Bottleneck .side.{framework}")
        side.hover()
        side.locator("button.copy").click()
        page.wait_for_function("document.getElementById('said').textContent === 'copied'")
        expected = next(
            each for each in definitions(f"resnet_{framework}/blocks.py") if each.name == name
        )
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == "\n".join(expected.lines) + "\n"


def test_keys_walk_from_pair_to_pair_and_from_page_to_page(reader):
    page = reader.open("layers")
    focused = "document.activeElement.id"
    for expected in ("layers-LAYOUT", "layers-conv", "layers-zero_pad"):
        page.keyboard.press("j")
        page.wait_for_function(f"{focused} === '{expected}'")
    page.keyboard.press("k")
    page.wait_for_function(f"{focused} === 'layers-conv'")
    page.keyboard.press("]")
    page.wait_for_url("**/blocks.html")
    page.keyboard.press("[")
    page.wait_for_url("**/layers.html")


def test_single_letter_keys_can_be_turned_off(reader):
    page = reader.open("layers")
    page.locator("#keyboard").click()
    page.locator("#keyboard").evaluate("(button) => button.blur()")
    before = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == before
    page = reader.open("blocks")
    assert page.locator("#keyboard").get_attribute("aria-pressed") == "false"
    page.locator("#keyboard").click()
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != before


def test_the_first_tab_stop_skips_to_the_text(reader):
    page = reader.open("layers")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@at(PHONE)
def test_the_list_of_pages_shows_the_one_that_is_open(reader):
    page = reader.open(PAGES[-1])
    place = "(each) => [each.getBoundingClientRect().left, each.getBoundingClientRect().right]"
    left, right = page.locator(".top li a[aria-current]").evaluate(place)
    first, last = page.locator(".top nav ul").evaluate(place)
    assert first <= left < right <= last + PIXEL


@at(WIDE, themes=THEMES)
def test_a_chosen_theme_persists(reader):
    page = reader.open("layers")
    theme = "document.documentElement.dataset.theme"
    before = page.evaluate(theme)
    page.locator("#theme").click()
    chosen = page.evaluate(theme)
    assert {before, chosen} == set(THEMES)
    page.locator("nav a", has_text="Blocks").click()
    page.wait_for_url("**/blocks.html")
    assert page.evaluate(theme) == chosen


@at(WIDE, themes=THEMES)
def test_print_opens_all_notes_in_dark_on_white_without_controls(reader):
    page = reader.open("layers")
    page.emulate_media(media="print")
    ink = page.evaluate("getComputedStyle(document.documentElement).color")
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 3 * 100
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.locator(".top").is_visible()
    assert page.locator("#layers-conv-conv-padding .impact").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#layers-conv-conv-padding .impact").is_visible()


def test_without_scripts_everything_is_visible(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((SITE / "layers.html").as_uri())
    page.locator("#layers-conv summary").first.click()
    assert page.locator("#layers-conv .impact").first.is_visible()
    page.goto((SITE / "evidence.html").as_uri())
    assert page.locator("figure.plot").last.is_visible()
    context.close()


# The architecture explorer.


@cache
def runs(name: str) -> int:
    """The number of boxes of an architecture: a run of equal blocks is one box."""
    plan = make_plan(ARCHITECTURES[name])
    boxes = 2 if plan.fc or not plan.features else 1
    for stage in plan.stages:
        kinds = [_kind(block) for block in stage.blocks]
        boxes += 1 + sum(ours != theirs for ours, theirs in pairwise(kinds))
    return boxes


def _kind(block: Any) -> tuple[Any, ...]:
    convs = [(c.in_channels, c.out_channels, c.stride, c.dilation) for c in block.convs]
    shortcut = [type(layer).__name__ for layer in block.shortcut]
    return block.kind, convs, block.add is None, shortcut, block.conv1.name.split(".")[0]


def test_every_architecture_is_drawn(reader):
    page = reader.open("spec")
    assert page.locator("#net option").all_inner_texts() == list(ARCHITECTURES)
    for name in ARCHITECTURES:
        page.locator("#net").select_option(name)
        assert page.locator("#overview .box").count() == runs(name), name
        assert page.locator("#layers .box").count() > 0
        assert page.locator("#panel h4").inner_text()
        for place in ("#panel .torch a", "#panel .keras a"):
            assert page.locator(place).get_attribute("href")


def test_a_click_shows_lines_tensors_shapes_and_figures(reader):
    page = reader.open("spec")
    page.locator("#net").select_option("resnet50")
    page.locator("#overview .box[aria-label^='layer2: 0']").click()
    page.locator("#layers .box[aria-label^='conv2']").click()
    panel = page.locator("#panel")
    panel.locator(".parity table").wait_for()
    for words in (
        "layer2.0.conv2.weight (128,128,3,3)",
        "layer2_0_conv2/kernel (3,3,128,128)",
        "self.conv2 = conv(block.conv2)",
        "x = conv(x, block.conv2)",
        "(N, 128, 28, 28)",
        "(N, 28, 28, 128)",
        "float64",
        "bfloat16",
    ):
        assert words in panel.inner_text(), words
    panel.locator(".torch a").click()
    page.wait_for_url("**/blocks.html#torch-blocks-L*")
    assert "self.conv2 = conv(block.conv2)" in page.locator(":target").inner_text()


def test_the_explorer_is_used_by_keyboard(reader):
    page = reader.open("spec")
    page.locator("#overview .box").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#instance").input_value() == "layer1.0"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    assert page.locator("#instance").input_value() == "layer1.1"


def test_a_repeated_block_can_be_chosen(reader):
    page = reader.open("spec")
    page.locator("#overview .box[aria-label^='layer3: 1…5']").click()
    page.locator("#instance").select_option("layer3.4")
    assert "layer3.4.conv1.weight (256,1024,1,1)" in page.locator("#panel").inner_text()
    assert "net=resnet50&block=layer3.4&layer=conv1" in page.url


def test_a_selection_is_in_the_anchor(reader):
    page = reader.open("spec", "net=resnetv2_50&block=layer3.0&layer=downsample.0")
    assert page.locator("#net").input_value() == "resnetv2_50"
    assert "layer3.0.downsample.0.weight (1024,512,1,1)" in page.locator("#panel").inner_text()
    page = reader.open("spec", "net=nonsense&block=layer9.9&layer=x")
    assert page.locator("#net").input_value() == "resnet50"


def test_a_plot_can_be_chosen(reader):
    page = reader.open("evidence")
    page.locator("#depth-net").select_option("seresnet50")
    assert page.locator("#depth-seresnet50 polyline").count() == 6
    assert page.locator("figure.plot:visible").count() == 1
    page = reader.open("evidence", "depth-plain34")
    assert page.locator("#depth-plain34").is_visible()


# On touch screens the copy buttons are always there; they cover no line.

TOUCH = ((820, 1180), (1024, 768), (1180, 820))


@pytest.mark.parametrize("size", TOUCH, ids=lambda size: f"{size[0]}px")
def test_no_lines_overlap_on_a_touch_screen(browser, size):
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, has_touch=True, is_mobile=True, offline=True
    )
    reader = Reader(context)
    page = reader.open("layers")
    assert page.evaluate("matchMedia('(hover: none)').matches")
    for pair in page.locator("section.pair").all():
        rows = pair.evaluate(ROWS)
        for side in rows:
            shown = [(top, bottom) for top, bottom, _ in side if bottom > top]
            for (_, bottom), (top, _) in pairwise(shown):
                assert top >= bottom - PIXEL
        if size[0] >= 900 and all(rows):
            for (first, *_), (second, *_) in zip(*rows, strict=True):
                assert abs(first - second) <= PIXEL
    buttons = "document.querySelectorAll('.copy')"
    assert page.evaluate(f"[...{buttons}].every((b) => getComputedStyle(b).opacity === '1')")
    context.close()
    assert reader.complaints == []


# The search field.


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("layer2_1_conv2/kernel", "spec.html#net=resnet50&block=layer2.1&layer=conv2"),
        ("layer4.2.bn3.running_var", "spec.html#net=resnet50&block=layer4.2&layer=bn3"),
        ("bottleneck", "blocks.html#blocks-Bottleneck"),
        ("pool-padding", "differences.html#pool-padding"),
        ("exit code", "docs/commands.html"),
        ("Detectron2", "names.html#dialect-detectron2"),
        ("TF-slim v1", "resnet50.html#slim-v1"),
        ("What runs on a GPU", "docs/engines.html#what-runs-on-a-gpu"),
    ],
)
@pytest.mark.parametrize("start", ["index", "docs/onnx"])
def test_the_search_leads_to_pages_definitions_tags_and_tensors(reader, query, target, start):
    page = reader.open(start)
    page.keyboard.press("/")
    page.keyboard.type(query)
    page.locator("#found a").first.wait_for()
    links = page.locator("#found a").evaluate_all("(all) => all.map((each) => each.href)")
    assert (SITE / target.partition("#")[0]).as_uri() in [link.partition("#")[0] for link in links]
    assert any(link.endswith(target) for link in links)


def test_the_search_is_used_by_keyboard_and_closes(reader):
    page = reader.open("index")
    page.keyboard.press("/")
    page.keyboard.type("no such thing at all")
    page.locator("#found .note").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden() and page.input_value("#search") == ""
    page.keyboard.type("moving weights")
    page.locator("#found a").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/docs/moving_weights.html")


# Exercises, and shapes beside the lines.


def test_a_right_answer_opens_the_solution_and_a_wrong_one_does_not(reader):
    page = reader.open("exercises")
    section = page.locator("#exercise-2")
    answer = section.locator("details.answer")
    section.locator("button.row:not([data-right])").first.click()
    assert answer.get_attribute("open") is None
    assert section.locator("button.row.wrong").count() == 1
    section.locator("button[data-right]").first.click()
    assert answer.get_attribute("open") is not None
    assert "relative error" in answer.inner_text() and "exact" in answer.inner_text()


def test_shapes_follow_the_architecture_the_block_and_the_image_size(reader):
    page = reader.open("blocks")

    def shapes(framework: str) -> list[str]:
        return page.locator(f".side.{framework} .shape").all_inner_texts()

    assert "(N, 256, 56, 56)" in shapes("torch") and "(N, 56, 56, 256)" in shapes("keras")
    page.fill("#shapes-height", "97")
    page.fill("#shapes-width", "225")
    assert "(N, 256, 25, 57)" in shapes("torch") and "(N, 25, 57, 256)" in shapes("keras")
    page.select_option("#shapes-block", "layer4.0")
    assert "(N, 2048, 4, 8)" in shapes("torch")
    page.select_option("#shapes-net", "resnet20")
    assert "(N, 16, 32, 32)" in shapes("torch")
    assert reader.open("model").locator(".shape").count() >= 8
