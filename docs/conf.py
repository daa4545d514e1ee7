"""Sphinx's settings for the book: ``make docs``. The pages are plain Markdown and read well without it."""

from pathlib import Path

project = "geventcql"
release = Path(__file__).parents[1].joinpath("geventcql", "_version.py").read_text().split('"')[-2]
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "A CQL driver for gevent", "page_width": "1040px"}
html_title = f"{project} {release}"
