"""Both places for evidence, for tests that hold for either."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from phonefarm_controller.evidence.backends.backend import MARKER, PARTS, EvidenceBackend
from phonefarm_controller.evidence.backends.open import open_backend
from phonefarm_controller.evidence.backends.s3_address import S3Address
from support.s3 import S3Bucket


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A place for evidence as a test sees it: beside the farm. What it does is blocking."""

    where: Path | S3Address
    scratch: Path
    bucket: S3Bucket | None = None

    def place(self, host: str = "one") -> EvidenceBackend:
        """Open it as a controller on that host does."""
        return open_backend(self.where, scratch=self.scratch / host)

    def files(self) -> dict[str, bytes]:
        """Return the files of runs by `run_id/name`."""
        return {
            f"{path.split('/')[1]}/{path.split('/')[-1]}": data
            for path, data in self._all().items()
            if not path.startswith(PARTS)
        }

    def parts(self) -> list[str]:
        """Return the paths of what there is of uploads under way."""
        return sorted(path for path in self._all() if path.startswith(PARTS))

    def put(self, path: str, data: bytes) -> None:
        """Put something beside the farm, or instead of what it has."""
        if isinstance(self.where, Path):
            (self.where / path).write_bytes(data)
        else:
            assert self.bucket is not None
            self.bucket.put(self.where.prefix + path, data)

    def paths(self) -> list[str]:
        """Return the path of everything but the marker."""
        return sorted(self._all())

    def _all(self) -> dict[str, bytes]:
        found = {}
        if isinstance(self.where, Path):
            for path in self.where.rglob("*"):
                if path.is_file():
                    with suppress(FileNotFoundError):
                        found[str(path.relative_to(self.where))] = path.read_bytes()
        else:
            assert self.bucket is not None
            for key, data in self.bucket.objects().items():
                found[key.removeprefix(self.where.prefix)] = data
        found.pop(MARKER, None)
        return found


@pytest.fixture(params=["directory", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Return each place that evidence may have."""
    scratch = tmp_path / "scratch"
    if request.param == "directory":
        return Kept(where=tmp_path / "evidence", scratch=scratch)
    bucket: S3Bucket = request.getfixturevalue("bucket")
    return Kept(where=bucket.address, scratch=scratch, bucket=bucket)
