"""The container engine, behind its SDK. Every call here blocks."""

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
import docker.types
import docker.utils
import requests
from docker.types.daemon import CancellableStream

from phonefarm_agent.runtimes.interface import RuntimeFailedError

_DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_ANSWER_SECONDS = 30
_BUILD_SECONDS = 600
_LIMITS = {"memory": "MemoryLimit", "processes": "PidsLimit", "cpu": "CpuCfsQuota"}
_NOT_RUNNING = frozenset({"created", "exited", "dead", "removing"})  # words of the engine's API


class EngineAwayError(RuntimeFailedError):
    """The engine did not answer; what it was asked for may still have happened."""


class NotKnownError(RuntimeFailedError):
    """The engine does not know the container or image."""


class ConflictError(RuntimeFailedError):
    """The engine refused because of a conflict, such as a name already in use."""


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """The limits of a run container."""

    memory_bytes: int = 256 * 1024 * 1024
    cpus: float = 1.0
    processes: int = 64
    tmp_bytes: int = 64 * 1024 * 1024
    log_file_bytes: int = 64 * 1024 * 1024  # a run that prints less loses no line to rotation
    log_files: int = 2


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """The specification of a run container."""

    name: str
    image: str
    user: str
    command: Sequence[str] | None  # None: what the image says
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    mount_from: Path
    mount_to: str
    confinement: Confinement


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """The state of a container."""

    status: str
    code: int
    out_of_memory: bool

    @property
    def running(self) -> bool:
        """Tell whether any of its processes runs."""
        return self.status not in _NOT_RUNNING


@dataclass(frozen=True, kw_only=True)
class FoundContainer:
    """One entry of the engine's list."""

    id: str
    name: str
    labels: Mapping[str, str]


class Engine:
    """One engine, found as the docker command finds it (DOCKER_HOST); for any number of threads."""

    def __init__(self) -> None:
        self._client: docker.APIClient | None = None

    def version(self) -> str:
        """Return the engine's version."""
        with _translated("ask for its version"):
            return str(self._api().version()["Version"])

    def cannot_limit(self) -> list[str]:
        """Return the resources that the engine cannot limit, empty for none."""
        with _translated("read which limits it supports"):
            told = self._api().info()
            return [name for name, flag in _LIMITS.items() if not told.get(flag)]

    def keeps_runs(self) -> bool:
        """Tell whether containers outlive a restart of the engine (its setting live-restore)."""
        with _translated("read its live-restore setting"):
            return bool(self._api().info().get("LiveRestoreEnabled"))

    def create(self, spec: ContainerSpec) -> str:
        """Create a confined container, not yet started; return its id.

        Raises ConflictError when the name is taken, NotKnownError when there is no such image.
        """
        with _translated(f"create {spec.name} from {spec.image}"):
            api, limits = self._api(), spec.confinement
            made = api.create_container(
                image=spec.image,
                entrypoint=None if spec.command is None else list(spec.command),
                name=spec.name,
                user=spec.user,
                environment=dict(spec.environment),
                labels=dict(spec.labels),
                network_disabled=True,
                host_config=api.create_host_config(
                    network_mode="none",
                    ipc_mode="none",  # otherwise /dev/shm could be written
                    read_only=True,
                    tmpfs={"/tmp": f"size={limits.tmp_bytes},mode=1777,noexec,nosuid,nodev"},  # noqa: S108 - inside the container
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    mem_limit=limits.memory_bytes,
                    memswap_limit=limits.memory_bytes,  # memory and swap together: no swap
                    nano_cpus=int(limits.cpus * 1_000_000_000),
                    pids_limit=limits.processes,
                    # Message queues would be files below /dev/mqueue.
                    ulimits=[docker.types.Ulimit(name="msgqueue", soft=0, hard=0)],
                    init=True,
                    mounts=[_read_only_mount(spec)],
                    log_config=docker.types.LogConfig(
                        type="json-file",
                        config={
                            "max-size": str(limits.log_file_bytes),
                            "max-file": str(limits.log_files),
                        },
                    ),
                ),
            )
            return str(made["Id"])

    def start(self, container: str) -> None:
        """Start a created container."""
        with _translated(f"start {container}"):
            self._api().start(container)

    def rename(self, container: str, name: str) -> None:
        """Rename a container, running or not; ConflictError when the name is in use."""
        with _translated(f"rename {container} to {name}"):
            self._api().rename(container, name)

    def state(self, container: str) -> ContainerState:
        """Return the state of a container; NotKnownError when it is gone."""
        with _translated(f"inspect {container}"):
            state = self._api().inspect_container(container)["State"]
            return ContainerState(
                status=str(state["Status"]),
                code=int(state["ExitCode"]),
                out_of_memory=bool(state["OOMKilled"]),
            )

    def wait(self, container: str, *, seconds: float) -> bool:
        """Return True once it no longer runs, False when *seconds* have passed before."""
        with _translated(f"wait for {container}"):
            try:
                self._api().wait(container, timeout=seconds)  # type: ignore[arg-type] # requests takes fractions
            except requests.ReadTimeout:
                return False
            except requests.ConnectionError as error:  # a time-out while reading the answer
                if "timed out" in str(error):
                    return False
                raise
            return True

    def kill(self, container: str, *, signal: str) -> None:
        """Send *signal*; a container that does not run or is gone is fine."""
        with suppress(NotKnownError, ConflictError), _translated(f"kill {container}"):
            self._api().kill(container, signal=signal)

    def remove(self, container: str) -> None:
        """Kill and remove a container; one that is gone is fine."""
        with suppress(NotKnownError), _translated(f"remove {container}"):
            try:
                self._api().remove_container(container, v=True, force=True)
            except docker.errors.APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                # Another removal is under way.
                self._api().wait(container, condition="removed", timeout=_ANSWER_SECONDS)

    def containers(self, labels: Mapping[str, str]) -> list[FoundContainer]:
        """Return every container, running or not, that has all of *labels*."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        with _translated("list containers"):
            return [
                FoundContainer(id=row["Id"], name=row["Names"][0].lstrip("/"), labels=row["Labels"])
                for row in self._api().containers(all=True, filters={"label": wanted})
            ]

    def follow_stdout(self, container: str) -> "LogStream":
        """Return the container's stdout from its first byte; it ends when the container has."""
        with _translated("ask for its version"):
            return LogStream(container=container, version=self._api().api_version)

    def image_labels(self, image: str) -> Mapping[str, str]:
        """Return the labels of a local image; raise NotKnownError when there is none."""
        with _translated(f"inspect image {image}"):
            found = self._api().inspect_image(image)["Config"]  # type: ignore[no-untyped-call]
            return found.get("Labels") or {}

    def image_id(self, image: str) -> str | None:
        """Return the id of a local image; None when there is none."""
        with suppress(NotKnownError), _translated(f"inspect image {image}"):
            return str(self._api().inspect_image(image)["Id"])  # type: ignore[no-untyped-call]
        return None

    def images(self, label: str) -> list[str]:
        """Return the ids of the local images with this label, `NAME=VALUE`."""
        with _translated("list the images"):
            return [str(each["Id"]) for each in self._api().images(filters={"label": label})]

    def drop_image(self, image: str) -> None:
        """Remove a local image; one that is in use or gone is fine."""
        with suppress(NotKnownError, ConflictError), _translated(f"remove image {image}"):
            self._api().remove_image(image)

    def pull(self, image: str, *, seconds: float) -> None:
        """Pull *image* from its registry; give up after *seconds* without progress."""
        repository, _, tag = image.rpartition(":")
        with _translated(f"pull {image}"), self._connect(seconds=seconds) as api:
            for event in api.pull(repository, tag=tag, stream=True, decode=True):
                _raise_event_error(event, f"pull {image}")

    def import_root(self, archive: Path, image: str) -> None:
        """Make *image* from a tar archive of a root file system."""
        repository, _, tag = image.rpartition(":")
        with _translated(f"import {image}"):
            answer = self._api().import_image_from_file(str(archive), repository, tag)
            if '"error"' in answer:
                raise RuntimeFailedError(f"the engine refused to import {image}: {answer}")

    def build(
        self,
        context: IO[bytes],
        image: str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> Iterator[str]:
        """Build *image* without network from a tar *context*; yield what the build says."""
        with _translated(f"build {image}"), self._connect(seconds=_BUILD_SECONDS) as api:
            events = api.build(
                fileobj=context,
                custom_context=True,
                tag=image,
                buildargs=dict(arguments),
                labels=dict(labels),
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in events:
                _raise_event_error(event, f"build {image}")
                if text := str(event.get("stream", "")).strip():
                    yield text

    def run_once(self, image: str, command: Sequence[str]) -> str:
        """Return what *command* prints in a throw-away container without network."""
        with _translated(f"run {command[0]} in {image}"):
            api = self._api()
            host = api.create_host_config(network_mode="none")
            made = api.create_container(
                image=image, entrypoint=list(command), network_disabled=True, host_config=host
            )
            try:
                api.start(made["Id"])
                code = api.wait(made["Id"], timeout=_ANSWER_SECONDS)["StatusCode"]
                output = api.logs(made["Id"]).decode(errors="replace")
            finally:
                api.remove_container(made["Id"], force=True)
        if code != 0:
            ran = f"{' '.join(command)} in {image}"
            raise RuntimeFailedError(f"{ran} exited with code {code}: {output}")
        return output

    def _api(self) -> docker.APIClient:
        _check_listening()
        if self._client is None:
            self._client = _connected()
        return self._client

    @contextmanager
    def _connect(self, *, seconds: float) -> Iterator[docker.APIClient]:
        api = _connected(version=self._api().api_version, seconds=seconds)
        try:
            yield api
        finally:
            api.close()


class LogStream:
    """A container's stdout; iterate in one thread, `close` from any."""

    def __init__(self, *, container: str, version: str) -> None:
        self._container = container
        self._version = version
        self._guard = threading.Lock()
        self._closed = False
        self._source: CancellableStream[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks until the container ended, the engine went away or `close`."""
        with _translated(f"read the log of {self._container}"):
            api = _connected(version=self._version)
            api.inspect_container(
                self._container
            )  # if it is gone, `logs` would leave a socket open
            source = api.logs(self._container, stderr=False, stream=True, follow=True)
            try:
                with self._guard:
                    if self._closed:
                        return
                    self._source = source
                yield from source
            finally:
                self.close()
                _release(source)
                api.close()

    def close(self) -> None:
        """End the reading; idempotent."""
        with self._guard:
            self._closed = True
            if self._source is not None:
                with suppress(AttributeError, OSError):  # it ended in this very moment
                    self._source.close()
                self._source = None


def _connected(*, version: str = "auto", seconds: float = _ANSWER_SECONDS) -> docker.APIClient:
    _check_listening()
    api = docker.APIClient(version=version, timeout=seconds, **docker.utils.kwargs_from_env())  # type: ignore[arg-type] # requests takes fractions
    api.headers["Connection"] = "close"  # a kept connection would be stale after an engine restart
    return api


def _check_listening() -> None:
    """Raise OSError when the engine does not listen: the SDK would leak a socket."""
    address = docker.utils.kwargs_from_env().get("base_url", _DEFAULT_ADDRESS)
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(_ANSWER_SECONDS)
            caller.connect(address.removeprefix("unix://"))


def _release(stream: "CancellableStream[bytes]") -> None:
    """Close the connection at once: the SDK's `close` leaves that to the garbage collector."""
    stream._response.close()  # type: ignore[attr-defined] # noqa: SLF001 - no public way


def _read_only_mount(spec: ContainerSpec) -> docker.types.Mount:
    return docker.types.Mount(spec.mount_to, str(spec.mount_from), type="bind", read_only=True)


def _raise_event_error(event: Mapping[str, Any], doing: str) -> None:
    if "error" in event:
        raise RuntimeFailedError(f"the container engine could not {doing}: {event['error']}")


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into those of `interface`."""
    try:
        yield
    except docker.errors.APIError as error:
        told = f"the container engine could not {doing}: {error.explanation or error}"
        match error.status_code:
            case HTTPStatus.NOT_FOUND:
                raise NotKnownError(told) from error
            case HTTPStatus.CONFLICT:
                raise ConflictError(told) from error
            case _:
                raise RuntimeFailedError(told) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineAwayError(
            f"no container engine answered (to {doing}): {error}. Start it "
            "(`systemctl start docker`), or set DOCKER_HOST to its address"
        ) from error
