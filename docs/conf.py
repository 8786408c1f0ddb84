"""Configuration of Sphinx for `make docs`, where a warning is an error."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "Gatepost"
author = "The Gatepost authors"
project_copyright = "The Gatepost authors"
release = version = installed_version("gatepost")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
# Headings down to the third level can be linked to by their words: page.md#a-heading
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "Gatepost"
# Pages are read from disk as often as from the web: no request leaves for fonts or scripts.
html_copy_source = False
