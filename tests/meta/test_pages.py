"""The pages say whom they are for, fit a screen, and name only what exists."""

import re
from pathlib import Path

import pytest
from build_docs import loaded_from_elsewhere

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = [one for one in ROOT.iterdir() if one.is_dir() and not one.name.startswith(".")]
PAGES = sorted([*ROOT.glob("*.md"), *(page for one in FOLDERS for page in one.rglob("*.md"))])
WIDTH = 120
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind `#`, as GitHub makes it from the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the relative links that lead to no file, folder or heading."""
    broken = []
    for path, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    return broken


def wide_lines(text: str) -> list[int]:
    """Return the numbers of the lines that are too wide; rows and single words cannot be broken."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > WIDTH and not line.startswith("|") and " " in line.strip("-* ")
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file or folder of the repository, and a heading of that page."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_line_is_wider_than_a_screen(page: Path) -> None:
    """At most 120 characters, except rows of tables."""
    assert wide_lines(page.read_text()) == []


DECISIONS = set(ROOT.glob("docs/adr/0*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DECISIONS], ids=name)
def test_a_page_begins_with_whom_it_is_for(page: Path) -> None:
    """The first paragraph begins with `For`; a decision is for those who follow a link to it."""
    assert re.match(r"# .+\n\nFor [a-z]", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_verb_exists(page: Path) -> None:
    """`make X` in a block of a page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"^make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_search_finds_what_is_wrong(tmp_path: Path) -> None:
    """A lost file, a lost heading and a wide line are seen; code and rows are left alone."""
    page = tmp_path / "page.md"
    wide = "word " * 30
    page.write_text(
        "# It's a page\n\n"
        "[there](page.md#its-a-page) [lost](none.md) [heading](#none) `[code](none.md)`\n"
        f"{wide}\n"
        f"| {wide} |\n"
        f"- {'x' * 130}\n"
    )

    assert broken_links(page) == ["none.md#", "#none"]
    assert wide_lines(page.read_text()) == [4]


def test_the_pages_are_found() -> None:
    """The README, the pages of docs and the decisions are among them."""
    assert {"README.md", "docs/operating.md", "deploy/README.md"} <= {name(p) for p in PAGES}
    assert len(PAGES) > 30


def test_what_a_page_of_the_site_loads_from_elsewhere_is_found() -> None:
    """Scripts, styles and fonts of another server; neither links nor what the site has itself."""
    page = (
        '<script src="../_static/own.js"></script><a href="https://a.example/">there</a>'
        '<script defer src="https://b.example/x.js"></script><link rel=x href="//c.example/y.css">'
        '<style>@font-face { src: url("https://d.example/z.woff2") }</style>'
    )

    assert list(loaded_from_elsewhere(page)) == [
        "https://b.example/x.js",
        "//c.example/y.css",
        "https://d.example/z.woff2",
    ]
