"""The built site, which tests of pages read."""

from __future__ import annotations

import pytest

from resnet_parity.site.build import ensure_built


@pytest.fixture(scope="session", autouse=True)
def _built_site() -> None:
    """Build the site where it is not up to date.

    Workers may build at the same time: each file appears whole, and all write the same text.
    """
    ensure_built()
