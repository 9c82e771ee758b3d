"""Puts the built site into a wheel, as `resnet_parity/site/built`; an editable install has none."""

from __future__ import annotations

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SiteBuildHook(BuildHookInterface):
    """Builds the site before a standard wheel is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from resnet_parity.site.build import ensure_built

        build_data["force_include"][str(ensure_built())] = "resnet_parity/site/built"
