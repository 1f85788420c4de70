"""The health check of the image: asks the program in this container whether it serves.

Exit code 0 if it does. The program's address is in the file that it writes when it is ready.
"""

import json
import ssl
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

READY = Path("/tmp/ready.json")  # noqa: S108 - the container's own
AGENT_METRICS = "127.0.0.1:9464"  # as start.sh says
SECONDS = 5.0


def main() -> int:
    """Return the exit code; say why it is not 0."""
    try:
        _ask(json.loads(READY.read_text()))
    except Exception as error:  # noqa: BLE001 - whatever it is, the container is not healthy
        sys.stderr.write(f"{error!r}\n")
        return 1
    return 0


def _ask(ready: dict[str, object]) -> None:
    if "grpc" in ready:
        _ask_controller(str(ready["grpc"]))
    elif "rest" in ready:
        _ask_gateway(str(ready["rest"]))
    else:
        _ask_agent()


def _ask_controller(address: str) -> None:
    """Ask gRPC's health service (grpc.health.v1)."""
    import grpc  # noqa: PLC0415 - only controllers have it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - the same

    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise RuntimeError(f"status {answer.status}")


def _ask_gateway(address: str) -> None:
    """Ask GET /healthz, over TLS if the gateway speaks nothing else."""
    try:
        urllib.request.urlopen(f"http://{address}/healthz", timeout=SECONDS)
    except (OSError, HTTPException):
        # The certificate is for the gateway's public name, not for this address.
        unchecked = ssl._create_unverified_context()  # noqa: S323, SLF001
        urllib.request.urlopen(f"https://{address}/healthz", timeout=SECONDS, context=unchecked)


def _ask_agent() -> None:
    """Ask for its metrics, which its event loop answers, whether the journal takes writes."""
    with urllib.request.urlopen(f"http://{AGENT_METRICS}/metrics", timeout=SECONDS) as answer:
        page = answer.read().decode()
    if "\nphonefarm_agent_journal_failing 0.0\n" not in page:
        raise RuntimeError("the disk refuses writes to the journal")


if __name__ == "__main__":
    sys.exit(main())
