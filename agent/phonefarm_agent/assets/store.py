"""Stores this host's assets: each is fetched once for all runs, and kept while there is room.

Below one directory: `<key>.json` says what is whole and names its data file, `<key>.part` is on its
way; what neither names is swept at the start. The key is the URL's (and kind's) sha256.
"""

import asyncio
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.outbound_http import SystemLookup, outbound_session
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.assets.download import Download, Fetched
from phonefarm_agent.assets.partial_file import PartialFile, Validators, on_disk
from phonefarm_agent.assets.types import (
    CONTENT_TYPES,
    SNIFFED_BYTES,
    AssetFailedError,
    WantedAsset,
    sniff,
)

log = structlog.get_logger()

ASSET_BYTES: Final = 512 * 1024 * 1024
CACHE_BYTES: Final = 8 * 1024 * 1024 * 1024
SPARE_BYTES: Final = 256 * 1024 * 1024
"""This much of the disk stays free for others: journal, evidence, logs."""
PART_SECONDS: Final = 24 * 3600.0
"""A partial file that nobody has continued for this long is removed."""
MAX_DOWNLOADS: Final = 4
LOOKUP_THREADS: Final = 2
_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class AssetLimits:
    """The size limits of one asset and of the store."""

    asset_bytes: int = ASSET_BYTES
    cache_bytes: int = CACHE_BYTES
    spare_bytes: int = SPARE_BYTES


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A complete file in the store."""

    key: str
    file: str  # its name in the store
    size: int
    sha256: str
    content_type: str
    etag: str
    last_modified: str
    used_at: float  # seconds since 1970

    @property
    def suffix(self) -> str:
        """Return the suffix of its file name."""
        return CONTENT_TYPES[self.content_type].suffix


class AssetStore:
    """Fetches and stores assets; a run uses what it got until `release`."""

    def __init__(
        self,
        *,
        folder: Path,
        session: aiohttp.ClientSession,
        policy: AddressPolicy,
        limits: AssetLimits,
        scale: float,
    ) -> None:
        self._folder = folder
        self._session = session
        self._policy = policy
        self._limits = limits
        self._scale = scale
        self._assets: dict[str, Asset] = {}
        self._downloads: dict[str, asyncio.Task[Asset]] = {}
        self._waiting: dict[str, int] = {}
        self._users: dict[str, set[str]] = {}
        self._download_slots = asyncio.Semaphore(MAX_DOWNLOADS)

    def path_of(self, asset: Asset) -> Path:
        """Return the path of an asset's file, which may be linked but not written."""
        return self._folder / asset.file

    async def fetch(self, run_id: str, wanted: WantedAsset) -> Asset:
        """Return the newest version of an asset, in use by the run; AssetFailedError.

        Runs that want the same at once share one download; it ends with the last that waits.
        """
        key = hashlib.sha256(f"{wanted.kind}\n{wanted.url}".encode()).hexdigest()
        self._users.setdefault(key, set()).add(run_id)
        while (download := self._downloads.get(key)) is not None and download.cancelling():
            # The last one's files are let go first: a part has one writer.
            await asyncio.wait([download])
        if download is None:
            download = asyncio.create_task(self._download(key, wanted), name=f"asset-{key[:12]}")
            self._downloads[key] = download
            download.add_done_callback(lambda _: self._on_downloaded(key, download))
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            return await asyncio.shield(download)
        except asyncio.CancelledError:
            if download.cancelled():
                # Ended by the host, not by this run.
                raise AssetFailedError(
                    FailureCode.ASSET_UNREACHABLE, "the download was cancelled"
                ) from None
            raise
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                download.cancel()

    def release(self, run_id: str) -> None:
        """Record that the run uses no asset any more."""
        for key in list(self._users):
            self._users[key].discard(run_id)
            if not self._users[key]:
                del self._users[key]

    async def close(self) -> None:
        """Cancel every download; partial files stay."""
        flights = list(self._downloads.values())
        for download in flights:
            download.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _on_downloaded(self, key: str, download: asyncio.Task[Asset]) -> None:
        if self._downloads.get(key) is download:
            del self._downloads[key]
        if not download.cancelled():
            download.exception()  # Whoever waits hears it; nobody may.

    async def _download(self, key: str, wanted: WantedAsset) -> Asset:
        part = PartialFile(self._folder, key)
        kept = self._assets.get(key)
        download = Download(
            session=self._session,
            policy=self._policy,
            wanted=wanted,
            part=part,
            most_bytes=self._limits.asset_bytes,
            make_room=self._make_room,
            scale=self._scale,
        )
        async with self._download_slots:
            try:
                known = (
                    Validators(etag=kept.etag, last_modified=kept.last_modified)
                    if kept is not None and self.path_of(kept).exists()
                    else None
                )
                fetched = await download.run(known)
                if fetched is None and kept is not None:
                    return await self._save(replace(kept, used_at=time.time()))
                return await self._complete(key, wanted, part, fetched)
            except AssetFailedError as error:
                # The network may come back and go on; anything else is of no use to anybody.
                if error.code is not FailureCode.ASSET_UNREACHABLE:
                    await on_disk(part.remove)
                log.warning("asset.failed", code=error.code.value, error=error.message)
                raise

    async def _complete(
        self, key: str, wanted: WantedAsset, part: PartialFile, fetched: Fetched | None
    ) -> Asset:
        validators = fetched.validators if fetched else Validators()
        try:
            size, sha256, head = await on_disk(_read_through, part.path)
            found = sniff(head, wanted.kind)
            asset = Asset(
                key=key,
                file=f"{key}.{sha256[:16]}.data",
                size=size,
                sha256=sha256,
                content_type=found.name,
                etag=validators.etag,
                last_modified=validators.last_modified,
                used_at=time.time(),
            )
            await on_disk(_rename_part, part, self.path_of(asset))
            await self._save(asset)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise AssetFailedError(
                FailureCode.HOST_STORAGE_FULL if full else FailureCode.ASSET_UNREACHABLE,
                f"the file cannot be stored on the host: {error}",
            ) from error
        log.info("asset.fetched", bytes=size, sha256=sha256, content_type=found.name)
        return asset

    async def _save(self, asset: Asset) -> Asset:
        """Record a complete asset, then remove the version it replaces."""
        older = self._assets.get(asset.key)
        await on_disk(_write_entry, self._folder / f"{asset.key}.json", asset)
        self._assets[asset.key] = asset
        if older is not None and older.file != asset.file:
            await on_disk(self.path_of(older).unlink, missing_ok=True)
        return asset

    async def _make_room(self, more: int) -> None:
        """Evict unused assets, the oldest first, until *more* bytes fit; host_storage_full."""
        while True:
            used = await on_disk(_total_size, self._folder)
            free = (await on_disk(shutil.disk_usage, self._folder)).free
            over = used + more > self._limits.cache_bytes
            if not over and free - more >= self._limits.spare_bytes:
                return
            oldest = self._oldest_unused()
            if oldest is None:
                why = (
                    "the cache is full, and all assets in it are in use"
                    if over
                    else "the disk is full"
                )
                raise AssetFailedError(
                    FailureCode.HOST_STORAGE_FULL, f"there is no room for {more} more bytes: {why}"
                )
            await self._evict(oldest)

    def _oldest_unused(self) -> Asset | None:
        unused = (asset for key, asset in self._assets.items() if key not in self._users)
        return min(unused, key=lambda asset: asset.used_at, default=None)

    async def _evict(self, asset: Asset) -> None:
        del self._assets[asset.key]
        for name in (f"{asset.key}.json", asset.file):
            await on_disk((self._folder / name).unlink, missing_ok=True)
        log.info("asset.evicted", bytes=asset.size, sha256=asset.sha256)

    def load(self) -> None:
        """Load the assets on the disk and remove other files. Blocking."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in self._folder.glob("*.json"):
            if entry.name.endswith(".part.json"):
                continue
            asset = _read_entry(entry)
            if asset is not None and _size(self.path_of(asset)) == asset.size:
                self._assets[asset.key] = asset
        mine = {
            name for asset in self._assets.values() for name in (f"{asset.key}.json", asset.file)
        }
        _sweep(self._folder, mine)


@asynccontextmanager
async def asset_store(
    *, folder: Path, policy: AddressPolicy, limits: AssetLimits, agent: str, scale: float
) -> AsyncIterator[AssetStore]:
    """Yield the store in *folder*; downloads end with the block, their bytes stay."""
    lookup = SystemLookup(threads=LOOKUP_THREADS)
    try:
        async with outbound_session(
            policy=policy, lookup=lookup, headers={"User-Agent": agent}
        ) as session:
            store = AssetStore(
                folder=folder, session=session, policy=policy, limits=limits, scale=scale
            )
            await on_disk(store.load)
            try:
                yield store
            finally:
                await store.close()
    finally:
        lookup.close()


def _read_through(path: Path) -> tuple[int, str, bytes]:
    """Return size, sha256 and the first bytes."""
    digest = hashlib.sha256()
    size, head = 0, b""
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            head = head or block[:SNIFFED_BYTES]
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest(), head


def _rename_part(part: PartialFile, target: Path) -> None:
    """Give a complete file its final name, read-only."""
    part.path.chmod(0o444)
    part.path.replace(target)
    part.remove()


def _write_entry(path: Path, asset: Asset) -> None:
    scratch = path.with_suffix(".new")
    with scratch.open("w") as file:
        json.dump(asdict(asset), file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _read_entry(path: Path) -> Asset | None:
    try:
        asset = Asset(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    plain = asset.file == f"{asset.key}.{asset.sha256[:16]}.data" and "/" not in asset.file
    return asset if plain and asset.content_type in CONTENT_TYPES else None


def _sweep(folder: Path, kept: Iterable[str]) -> None:
    oldest = time.time() - PART_SECONDS
    names = set(kept)
    for path in list(folder.iterdir()):
        part = path.name.endswith((".part", ".part.json"))
        fresh = part and path.stat().st_mtime >= oldest
        if path.name not in names and not fresh:
            path.unlink(missing_ok=True)
            log.info("asset.leftover_removed", file=path.name)


def _total_size(folder: Path) -> int:
    return sum(_size(path) for path in folder.iterdir())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
