"""How Sphinx makes the site from the pages of the repository (docs/adr/0041).

The source folder is the repository itself, so that a link between two pages is the same on the
site and in a viewer of the repository. The lists in docs/README.md and docs/adr/README.md are the
navigation.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).resolve().parents[2]
OWN_PAGES: Final = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
FOLDERS: Final = ("deploy", "docs")
LISTS: Final = {"docs/README", "docs/adr/README"}
"""The pages whose links are the navigation."""
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^(?:- |\| )\[([^\]]+)\]\(([^):#]+)\.md\)", re.MULTILINE)
"""The link that begins an item of a list or a row of a table."""
_DIAGRAM: Final = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)
"""Viewers of repositories draw it; here the table above it says the same."""

project = "Phonefarm"
version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = [*OWN_PAGES, *(f"{folder}/**.md" for folder in FOLDERS)]
# Sphinx does not look into these; .venv alone has thousands of files.
exclude_patterns = [
    entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name not in FOLDERS
]
myst_heading_anchors = 4
highlight_language = "text"

html_theme = "furo"
html_title = "Phonefarm"
html_favicon = "../../gateway/phonefarm_gateway/console/static/icon.svg"
html_logo = html_favicon
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).with_name("search_scorer.js"))
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    # The colours of the console.
    "light_css_variables": {
        "color-brand-primary": "#0b6e4f",
        "color-brand-content": "#0a5bb5",
        "color-brand-visited": "#0a5bb5",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5ecda5",
        "color-brand-content": "#7db8f7",
        "color-brand-visited": "#7db8f7",
    },
}


def navigation(page: str, docname: str) -> str:
    """Return the hidden tables of contents that a page's lists of links make, one a section."""
    folder = Path(docname).parent
    parts = _SECTION.split(page)
    sections = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    tables = []
    for caption, text in sections:
        entries = [
            f"{' '.join(title.split())} </{_normal(folder / path)}>"
            for title, path in _ENTRY.findall(text)
        ]
        if entries:
            options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
            tables.append("\n".join(["```{toctree}", *options, "", *entries, "```"]))
    return "\n\n".join(tables)


def _normal(path: Path) -> Path:
    """Return the path in the repository without `..`."""
    return (ROOT / path).resolve().relative_to(ROOT)


def setup(app: Sphinx) -> None:
    """Change pages when they are read and written; Sphinx calls this."""

    def change(_: Sphinx, docname: str, source: list[str]) -> None:
        # Pygments does not know csv.
        source[0] = _DIAGRAM.sub("", source[0]).replace("```csv\n", "```text\n")
        if docname in LISTS:
            source[0] += f"\n\n{navigation(source[0], docname)}\n"

    def complete(
        _: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: object
    ) -> None:
        # What keyboards and screen readers need, and Sphinx and Furo leave out.
        context["body"] = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
        tree = context.get("furo_navigation_tree", "")
        context["furo_navigation_tree"] = tree.replace(
            'role="heading"', 'role="heading" aria-level="2"'
        )

    app.connect("source-read", change)
    app.connect("html-page-context", complete, priority=900)  # after Furo
