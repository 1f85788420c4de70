"""Provides a run's assets in its run directory, under the names in the plan."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.assets.store import Asset, AssetStore
from phonefarm_agent.assets.types import AssetFailedError, WantedAsset
from phonefarm_agent.runs.run_directory import RunDirectory

log = structlog.get_logger()


class AssetRequests:
    """Answers a run's requests for assets; a repeated request gets the same answer."""

    def __init__(
        self,
        *,
        run_id: str,
        directory: RunDirectory,
        wanted: Mapping[str, WantedAsset],
        store: AssetStore,
    ) -> None:
        self._run_id = run_id
        self._directory = directory
        self._wanted = wanted
        self._store = store

    async def fetch(self, name: str) -> dict[str, object]:
        """Return the answer of docs/seams.md: where the asset is, or why it failed."""
        wanted = self._wanted.get(name)
        if wanted is None:
            message = f"the plan does not contain a fetch_asset for {name!r}"
            return _failure(AssetFailedError(FailureCode.PLAN_INVALID, message))
        try:
            # The agent's previous process may have answered already.
            standing = await asyncio.to_thread(self._earlier_answer, name)
            if standing is not None:
                return standing
            asset = await self._store.fetch(self._run_id, wanted)
            return await asyncio.to_thread(self._provide, name, asset)
        except AssetFailedError as error:
            return _failure(error)
        except OSError as error:
            message = f"the file cannot be written to the run directory: {error}"
            return _failure(AssetFailedError(FailureCode.HOST_STORAGE_FULL, message))
        except Exception as error:
            log.exception("asset.crashed_in_agent", asset=name)
            message = f"the agent has a fault: {error!r}"
            return _failure(AssetFailedError(FailureCode.ASSET_UNREACHABLE, message))

    def _earlier_answer(self, name: str) -> dict[str, object] | None:
        try:
            answer = json.loads(self._answer_path(name).read_text())
            there = (self._directory.path / str(answer["path"])).stat().st_size == answer["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return answer if there else None

    def _provide(self, name: str, asset: Asset) -> dict[str, object]:
        """Link or copy the file into the run directory and save the answer."""
        folder = self._directory.assets
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)  # the container's user is another one
        target = folder / f"{name}{asset.suffix}"
        scratch = folder / f".{name}.new"
        scratch.unlink(missing_ok=True)
        source = self._store.path_of(asset)
        try:
            os.link(source, scratch)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, scratch)
            scratch.chmod(0o444)
        scratch.replace(target)
        answer: dict[str, object] = {
            "path": f"{folder.name}/{target.name}",
            "bytes": asset.size,
            "sha256": asset.sha256,
            "content_type": asset.content_type,
        }
        note = self._answer_path(name)
        note.with_suffix(".new").write_text(json.dumps(answer))
        note.with_suffix(".new").replace(note)
        return answer

    def _answer_path(self, name: str) -> Path:
        return self._directory.assets / f".{name}.json"


def _failure(error: AssetFailedError) -> dict[str, object]:
    return {
        "failure": {
            "code": error.code.value,
            "class": error.failure_class.value,
            "final": error.final,
            "message": error.message,
        }
    }
