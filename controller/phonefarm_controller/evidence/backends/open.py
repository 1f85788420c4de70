"""Open the evidence backend that the settings name."""

from pathlib import Path

from phonefarm_common.config import ConfigError

from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.evidence.backends.filesystem import Directory
from phonefarm_controller.evidence.backends.s3_address import BucketAddress


def open_backend(where: Path | BucketAddress, *, scratch: Path) -> EvidenceBackend:
    """Return the place; nothing is asked of it yet. *scratch* is a folder of this host's own."""
    if isinstance(where, Path):
        return Directory(where)
    try:
        from phonefarm_controller.evidence.backends.s3 import Bucket  # noqa: PLC0415 - boto3 is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--evidence {where} needs {error.name}: pip install 'phonefarm[s3]'"
        ) from error
    return Bucket(where, scratch=scratch)
