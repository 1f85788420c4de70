"""Open the evidence backend that the settings name."""

from pathlib import Path

from phonefarm_common.config import ConfigError

from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.evidence.backends.filesystem import FilesystemBackend
from phonefarm_controller.evidence.backends.s3_address import S3Address


def open_backend(where: Path | S3Address, *, scratch: Path) -> EvidenceBackend:
    """Return the place; nothing is asked of it yet. *scratch* is a folder of this host's own."""
    if isinstance(where, Path):
        return FilesystemBackend(where)
    try:
        from phonefarm_controller.evidence.backends.s3 import S3Backend  # noqa: PLC0415 - boto3 is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--evidence {where} needs {error.name}: pip install 'phonefarm[s3]'"
        ) from error
    return S3Backend(where, scratch=scratch)
