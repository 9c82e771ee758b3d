"""Starts Chromium for the tests of the pages, driven by Playwright.

Run as a module it takes the README's screenshot of a page, `docs/page.png`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from parity_tests.support import ROOT
from resnet_parity.site.build import ensure_built

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

_QUIET = ("--disable-gpu", "--disable-background-networking", "--disable-component-update")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless browser; without a sandbox for root, who cannot have one."""
    sandbox = ("--no-sandbox",) if os.getuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *_QUIET])
        yield browser
        browser.close()


def main() -> int:
    """Take a screenshot of batch normalisation in both frameworks, with a difference opened."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 696}, reduced_motion="reduce")
        page.goto((ensure_built() / "layers.html").as_uri() + "#layers-batch_norm-bn-variance")
        page.locator("#layers-batch_norm").evaluate("(pair) => pair.scrollIntoView()")
        page.screenshot(path=ROOT / "docs" / "page.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
