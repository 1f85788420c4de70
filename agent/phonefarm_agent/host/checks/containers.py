"""Checks that runs can be started: the container engine and the image."""

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, fail, ok, warn
from phonefarm_agent.runtimes import image
from phonefarm_agent.runtimes.docker_engine import Engine, EngineAwayError, NotKnownError
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from phonefarm_agent.runtimes.threads import in_thread

_NO_ENGINE = (
    "`systemctl start docker`; if it runs, the agent's user must be in the socket's group: run "
    "`phonefarm-agent install` again, or set DOCKER_HOST"
)


async def check_containers(settings: Settings) -> list[Finding]:
    """Check the engine, in a thread that may hang with it."""
    if settings.runtime in {"process", "dummy"}:
        remedy = "--runtime docker, for anything but tests"
        return [warn("docker", f"not asked: the runtime is {settings.runtime}", remedy)]
    return await in_thread(lambda: _check(settings.image))


def _check(name: str) -> list[Finding]:
    engine = Engine()
    try:
        findings = [ok("docker", f"engine {engine.version()} answers")]
        if missing := engine.cannot_limit():
            findings.append(
                fail(
                    "docker limits",
                    f"the engine cannot limit {', '.join(missing)}",
                    "switch these cgroup controllers on (kernel command line)",
                )
            )
        if engine.keeps_runs():
            findings.append(ok("docker live-restore", "on: runs outlive a restart of the engine"))
        else:
            findings.append(
                warn(
                    "docker live-restore",
                    "off: a restart of the engine kills every run",
                    '{"live-restore": true} in /etc/docker/daemon.json, then `systemctl reload '
                    "docker`",
                )
            )
    except EngineAwayError as error:
        return [fail("docker", str(error), _NO_ENGINE)]
    except RuntimeFailedError as error:
        return [fail("docker", str(error), "see the engine's log: journalctl -u docker")]
    return [*findings, _image(name)]


def _image(name: str) -> Finding:
    build = "phonefarm-agent image build"
    try:
        if image.is_current(name):
            return ok("image", f"{name} is there and made from this version")
    except NotKnownError:
        return fail("image", f"the engine has no {name}", build)
    except RuntimeFailedError as error:
        return fail("image", str(error), build)
    return warn("image", f"{name} was made from another executor than the installed one", build)
