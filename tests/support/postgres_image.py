"""An image with this machine's PostgreSQL that starts as the public image `postgres` does.

It stands for that image where no registry is: it makes its database at the first start, from the
same variables. The server is a real one.
"""

import re
import shutil
import subprocess
from pathlib import Path

from support.postgres_server import programs

_FOLDER = "/usr/lib/postgresql"
_PROGRAMS = ("postgres", "initdb", "pg_isready")
_OF_THE_BASE = re.compile(r"/(ld-linux|libc|libm|libdl|libpthread|librt)[-.]")

_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY files /
COPY start.sh /start.sh
RUN useradd --system postgres \
    && install -d -o postgres -m 0700 /var/lib/postgresql/data \
    && install -d -o postgres /run/postgresql /var/run/postgresql
ENV PATH=%(programs)s:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
USER postgres
ENTRYPOINT ["/start.sh"]
"""

_START = """\
#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --no-sync
    rm /tmp/password
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -F postgres
fi
exec "$@"
"""


def build_postgres_image(name: str, base: str, context: Path) -> None:
    """Build the image *name* from *base*, a Debian of this machine's release."""
    folder = programs()
    assert folder is not None, "PostgreSQL's programs are not here"
    version = folder.parent.name
    files = context / "files"
    here = files / str(folder).lstrip("/")
    here.mkdir(parents=True)
    for program in _PROGRAMS:
        shutil.copy2(folder / program, here)
    _copy_tree(Path(_FOLDER) / version / "lib", files, "bitcode", "llvmjit*", "pgxs")
    _copy_tree(Path("/usr/share/postgresql") / version, files, "man", "locale")
    for library in _libraries([folder / program for program in _PROGRAMS]):
        target = files / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)
    (context / "Dockerfile").write_text(_DOCKERFILE % {"programs": folder})
    (context / "start.sh").write_text(_START)
    (context / "start.sh").chmod(0o755)
    words = ["docker", "build", "--quiet", "--network=none", f"--build-arg=BASE={base}"]
    words += ["--label=phonefarm.test=postgres", f"--tag={name}", str(context)]
    subprocess.run(words, check=True, capture_output=True)


def _copy_tree(source: Path, files: Path, *left_out: str) -> None:
    target = files / str(source).lstrip("/")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out))


def _libraries(paths: list[Path]) -> set[Path]:
    """Return the libraries that the programs load, except those of the C library."""
    listed = subprocess.run(
        ["ldd", *map(str, paths)], capture_output=True, text=True, check=True
    ).stdout
    found = {Path(path) for path in re.findall(r"=> (/\S+)", listed)}
    usr = {
        Path("/usr") / str(path).lstrip("/") if path.parts[1] == "lib" else path for path in found
    }
    return {path for path in usr if not _OF_THE_BASE.search(str(path))}
