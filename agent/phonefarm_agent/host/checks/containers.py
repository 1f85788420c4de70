"""Checks that runs can be started: the container engine and the image."""

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, fail, ok, warn
from phonefarm_agent.runtimes import image
from phonefarm_agent.runtimes.docker_engine import Engine, EngineAwayError, NotKnownError
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from phonefarm_agent.runtimes.threads import in_thread

_NO_ENGINE = (
    "run `systemctl start docker`; if Docker already runs, the agent's user is not in the group "
    "that may use Docker's socket: run `phonefarm-agent install` again, or set DOCKER_HOST"
)


async def check_containers(settings: Settings) -> list[Finding]:
    """Check the container engine, in a thread that may hang with the engine."""
    if settings.runtime in {"process", "dummy"}:
        remedy = "use --runtime docker, except in tests"
        return [warn("docker", f"not checked, because the runtime is {settings.runtime}", remedy)]
    return await in_thread(lambda: _check(settings.image))


def _check(name: str) -> list[Finding]:
    engine = Engine()
    try:
        findings = [
            ok("docker", f"the container engine answers; its version is {engine.version()}")
        ]
        if missing := engine.cannot_limit():
            findings.append(
                fail(
                    "docker limits",
                    f"the engine cannot limit {', '.join(missing)}",
                    "enable these cgroup controllers on the kernel's command line",
                )
            )
        if engine.keeps_runs():
            findings.append(
                ok(
                    "docker live-restore",
                    "live-restore is on: runs survive a restart of the engine",
                )
            )
        else:
            findings.append(
                warn(
                    "docker live-restore",
                    "live-restore is off: a restart of the engine kills every run",
                    (
                        'put {"live-restore": true} into /etc/docker/daemon.json, then '
                        "run `systemctl reload docker`"
                    ),
                )
            )
    except EngineAwayError as error:
        return [fail("docker", str(error), _NO_ENGINE)]
    except RuntimeFailedError as error:
        return [fail("docker", str(error), "read the engine's log: journalctl -u docker")]
    return [*findings, _image(name)]


def _image(name: str) -> Finding:
    build = "phonefarm-agent image build"
    try:
        if image.is_current(name):
            return ok("image", f"the engine has {name}, built from this version")
    except NotKnownError:
        return fail("image", f"the engine does not have the image {name}", build)
    except RuntimeFailedError as error:
        return fail("image", str(error), build)
    return warn(
        "image",
        f"{name} was built from a version of the executor that differs from the installed one",
        build,
    )
