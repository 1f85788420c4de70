"""Evidence: listed with where it is, read whole, safe in a browser."""

import hashlib
import os
from urllib.parse import urljoin

import aiohttp
import pytest
from gateway.support.farm import farm

NOBODY = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"


@pytest.mark.parametrize(
    ("name", "kind", "media_type", "disposition"),
    [
        ("a1-screen.png", "screenshot", "image/png", 'inline; filename="a1-screen.png"'),
        ("ui.xml", "ui_dump", "application/xml", 'attachment; filename="ui.xml"'),
        ("logcat.txt", "logcat", "text/plain", 'attachment; filename="logcat.txt"'),
        ("run.log", "log", "text/plain", 'attachment; filename="run.log"'),
        ("manifest.json", "manifest", "application/json", 'attachment; filename="manifest.json"'),
        ("film.mp4", "film", "application/octet-stream", 'attachment; filename="film.mp4"'),
        ('a"\r\nX: y', "log", "text/plain", 'attachment; filename="a___X__y"'),
    ],
)
async def test_a_file_is_read_at_its_url(
    name: str, kind: str, media_type: str, disposition: str
) -> None:
    """The very bytes, their type, their length, a plain name, nothing a browser would run."""
    data = os.urandom(200_000)
    async with farm() as it:
        it.checks_published = kind != "manifest"  # its bytes are no JSON here
        process_id = it.controller.add_process(url="http://e.example")
        it.controller.inspection.keep(process_id, name, kind, data)

        listed = await it.call("GET", f"/processes/{process_id}/evidence")
        (line,) = listed.body["evidence"]
        # As any client resolves it, also behind a proxy that adds a prefix to the path.
        url = urljoin(f"{it.base}/processes/{process_id}/evidence", line["url"])
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer caller-key"}) as session:
            async with session.get(url) as response:
                got = await response.read()
                headers = response.headers
            async with session.head(url) as response:
                head = response.headers
                nothing = await response.read()

        assert got == data
        assert urljoin("https://h/farm/processes/p/evidence", line["url"]) == (
            f"https://h/farm/processes/p/evidence/{line['evidence_id']}"
        )
        assert line["bytes"] == len(data)
        assert line["action_index"] is None
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert nothing == b""
        for answer in (headers, head):
            assert answer["Content-Type"].partition(";")[0] == media_type
            assert answer["Content-Length"] == str(len(data))
            assert answer["Content-Disposition"] == disposition
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert "sandbox" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("evidence_id", [NOBODY, "x", "..%2f..%2fetc%2fpasswd"])
async def test_unknown_evidence_is_404(evidence_id: str) -> None:
    """Whatever stands in the path."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")

        answer = await it.call("GET", f"/processes/{process_id}/evidence/{evidence_id}")

        assert (answer.status, answer.body["error"]) == (404, "unknown_evidence")


async def test_a_file_cut_short_is_not_taken_for_whole() -> None:
    """When the controller sends less than it said, the connection breaks."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")
        evidence_id = it.controller.inspection.keep(process_id, "x.log", "log", b"x" * 100_000)
        it.controller.inspection.short_by = 10

        with pytest.raises(aiohttp.ClientPayloadError):
            await it.call("GET", f"/processes/{process_id}/evidence/{evidence_id}")
