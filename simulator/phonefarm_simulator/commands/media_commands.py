"""`content` on the media provider: call scan_file, query and delete.

As on a real phone a provider that throws is told on stderr and the command ends with 0
(AOSP frameworks/base, cmds/content, Content.java: Command.execute).
"""

import re
from collections.abc import Callable

from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.media_store import KNOWS_FILES_SDK, Row

_WITH_VALUE = {"--uri", "--method", "--arg", "--projection", "--where", "--sort", "--user"}
_URI = re.compile(r"content://media(/[a-z_]+)*/?")
_COLLECTION = re.compile(
    r"content://media/external(_primary)?/(?P<folder>video/media|images/media|file)"
)
_IS = re.compile(r"_data='([^']*)'")
_LIKE = re.compile(r"_data LIKE '([^'%]*)%'")


async def content(call: Call) -> int:
    """Call, query or delete, as /system/bin/content does."""
    what, *words = call.arguments or ("",)
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        value = next(rest, None)
        if word not in _WITH_VALUE or value is None:
            return await call.complain(f"[ERROR] Unsupported argument: {word}")
        given[word] = value
    match what:
        case "call" if given.get("--method") == "scan_file":
            return await _scan(call, given)
        case "query":
            return await _query(call, given)
        case "delete":
            return await _delete(call, given)
        case _:
            return await call.complain(f"[ERROR] Unsupported operation: {what}")


async def _scan(call: Call, given: dict[str, str]) -> int:
    phone = call.phone
    if _URI.fullmatch(given.get("--uri", "")) is None:
        return await _thrown(call, "java.lang.IllegalStateException: Could not find provider")
    if phone.sdk < KNOWS_FILES_SDK:
        # Android 10 wants the file as a Uri in the extras, which this command cannot give.
        return await _thrown(
            call, "java.lang.NullPointerException: android.os.Bundle.getParcelable"
        )
    row = phone.scan_media(given.get("--arg", ""))
    await call.say(f"Result: Bundle[{{android.intent.extra.STREAM={row.uri if row else 'null'}}}]")
    return 0


async def _query(call: Call, given: dict[str, str]) -> int:
    chosen = _chosen(given)
    if chosen is None:
        return await _thrown(call, "java.lang.IllegalArgumentException: Unknown URL or where")
    columns = given.get("--projection", "_id:_data").split(":")
    found = [row for row in call.phone.media.rows() if chosen(row)]
    for index, row in enumerate(found):
        values = {"_id": str(row.number), "_data": row.data}
        shown = ", ".join(f"{name}={values.get(name, 'NULL')}" for name in columns)
        await call.say(f"Row: {index} {shown}")
    if not found:
        await call.say("No result found.")
    return 0


async def _delete(call: Call, given: dict[str, str]) -> int:
    chosen = _chosen(given)
    if chosen is None:
        return await _thrown(call, "java.lang.IllegalArgumentException: Unknown URL or where")
    for row in call.phone.media.rows():
        if chosen(row):
            call.phone.media.remove(row)
            call.phone.record(Kind.MEDIA_FORGOTTEN, path=row.path, uri=row.uri)
    return 0


def _chosen(given: dict[str, str]) -> Callable[[Row], bool] | None:
    collection = _COLLECTION.fullmatch(given.get("--uri", ""))
    where = given.get("--where", "")
    if collection is None:
        return None
    folder = collection["folder"].removesuffix("/media")
    exact, below = _IS.fullmatch(where), _LIKE.fullmatch(where)
    if exact is not None:
        path = exact[1]
        return lambda row: folder in {"file", row.folder} and row.data == path
    if below is not None:
        start = below[1]
        return lambda row: folder in {"file", row.folder} and row.data.startswith(start)
    return None


async def _thrown(call: Call, error: str) -> int:
    await call.complain(f"Error while accessing provider:media\n{error}")
    return 0


COMMANDS: Table = {"content": content}
