"""Builds the documentation as a site, into build/docs; whatever Sphinx warns of is an error.

scripts/build_docs.py          the site, and where it is
scripts/build_docs.py --quiet  only what is wrong
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SITE: Final = ROOT / "build" / "docs"
FIRST_PAGE: Final = "docs/README.html"
REDIRECT: Final = f"""\
<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={FIRST_PAGE}">
<title>Phonefarm</title>
<a href="{FIRST_PAGE}">The documentation of Phonefarm</a>
"""
LOADED: Final = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="((?:https?:)?//[^"]*)"""
    r"""|<link\b[^>]*\bhref="((?:https?:)?//[^"]*)"""
    r"""|(?:url\(|@import )["']?((?:https?:)?//[^"')]*)"""
)
"""What a browser fetches from elsewhere by itself; links that people follow are not meant."""


def main() -> int:
    """Build the site anew; return 1 if a page, a link or something that it loads is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")
    options = parser.parse_args()
    shutil.rmtree(SITE, ignore_errors=True)
    # Every page is read again: Sphinx warns of a page only when it reads it.
    words = ["--fresh-env", "--fail-on-warning", "--quiet", "--jobs", "2"]
    words += ["--conf-dir", str(ROOT / "docs" / "site")]
    words += ["--doctree-dir", str(ROOT / "build" / "docs-pages")]
    command = [sys.executable, "-m", "sphinx", *words, str(ROOT), str(SITE)]
    if subprocess.run(command, check=False).returncode:
        return 1
    (SITE / "index.html").write_text(REDIRECT)
    wrong = [
        f"{path.relative_to(SITE)} loads {address}"
        for path in sorted(SITE.rglob("*"))
        if path.suffix in {".css", ".html", ".svg"}
        for address in loaded_from_elsewhere(path.read_text())
    ]
    if wrong:
        print("the site must load nothing from elsewhere:", *wrong, sep="\n")
        return 1
    if not options.quiet:
        print(f"open {SITE / 'index.html'}")
    return 0


def loaded_from_elsewhere(text: str) -> Iterator[str]:
    """Yield the addresses from which a file of the site loads something."""
    for found in LOADED.finditer(text):
        yield next(address for address in found.groups() if address)


if __name__ == "__main__":
    sys.exit(main())
