"""The lines that programs write to stderr: JSON, the most important first, and nothing between."""

import json
import subprocess
import sys
from pathlib import Path

LOGS = """
import structlog
from phonefarm_common.logs import configure_logs
configure_logs(program="gateway")
structlog.get_logger().warning("delivery.attempted", process_id="p", attempt=2)
"""
STRANGER = """
import contextlib, socket, sys
from concurrent import futures
from pathlib import Path
import phonefarm_common.channel
import grpc
key, chain = (Path(name).read_bytes() for name in sys.argv[1:])
server = grpc.server(futures.ThreadPoolExecutor(1))
credentials = grpc.ssl_server_credentials([(key, chain)])
port = server.add_secure_port("127.0.0.1:0", credentials)
server.start()
with socket.create_connection(("127.0.0.1", port), timeout=180) as link:
    link.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    with contextlib.suppress(ConnectionResetError):
        while link.recv(100):
            pass
server.stop(None).wait()
"""


def _said(program: str, *words: str) -> str:
    """Return what a program writes to stderr."""
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ).stderr


def test_a_line_begins_with_what_people_look_for() -> None:
    """The time, the level, the program and the event stand before the values."""
    line = json.loads(_said(LOGS))

    names = ["timestamp", "level", "program", "event", "process_id", "attempt"]
    assert list(line) == names
    assert [line[name] for name in names[1:]] == [
        *("warning", "gateway", "delivery.attempted"),
        *("p", 2),
    ]


def test_a_stranger_at_a_tls_port_makes_no_line(tmp_path: Path) -> None:
    """Left to itself, gRPC writes a line in a form of its own for each failed handshake."""
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(chain)],
        capture_output=True,
        check=True,
    )  # fmt: skip

    assert _said(STRANGER, str(key), str(chain)) == ""
