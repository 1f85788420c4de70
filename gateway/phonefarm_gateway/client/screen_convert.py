"""Converts the messages of ScreenService to what viewers get; decides nothing."""

import base64
from datetime import UTC

from phonefarm.schemas import screens
from phonefarm.v1 import screen_pb2 as pb

from phonefarm_gateway.client.convert import moment


def event(message: pb.ViewEvent) -> screens.Frame | screens.Said | None:
    """Return one event of a view; None for one of a newer controller."""
    match message.WhichOneof("body"):
        case "frame":
            frame = message.frame
            return screens.Frame(data=frame.data, key=frame.key, timestamp_us=frame.timestamp_us)
        case "info":
            return _info(message.info)
        case "input_refused":
            refused = message.input_refused
            return screens.InputRefused(reason=refused.reason, message=refused.message)
        case "clipboard":
            return screens.Clipboard(text=message.clipboard.text)
        case "clipboard_set":
            return screens.ClipboardSet(sequence=message.clipboard_set.sequence)
        case "ended":
            return screens.Ended(reason=message.ended.reason, message=message.ended.message)
        case _:
            return None


def _info(message: pb.StreamInfo) -> screens.Info:
    return screens.Info(
        mode="stills" if message.mode == pb.VIEW_MODE_STILLS else "video",
        codec=message.codec,
        width=message.width,
        height=message.height,
        reason=message.reason or None,
        warning=message.warning or None,
    )


def thumbnail(message: pb.Thumbnail) -> screens.Picture:
    """Return a thumbnail, or why there is none."""
    is_evidence = message.source == pb.THUMBNAIL_SOURCE_EVIDENCE
    return screens.Picture(
        jpeg=message.jpeg,
        about=screens.Thumbnail(
            phone_id=message.phone_id,
            taken_at=moment(message.taken_at) if message.HasField("taken_at") else None,
            source="evidence" if is_evidence else "phone",
            refused=message.refused or None,
        ),
    )


def inspection(message: pb.Still) -> screens.Inspection:
    """Return a picture with its elements."""
    return screens.Inspection(
        picture=base64.b64encode(message.picture).decode(),
        width=message.width,
        height=message.height,
        taken_at=message.taken_at.ToDatetime(tzinfo=UTC),
        nodes=tuple(_node(node) for node in message.nodes),
        tree_refused=message.tree_refused or None,
        moved=message.moved,
    )


def _node(node: pb.UiNode) -> screens.Node:
    return screens.Node(
        parent=node.parent,
        class_name=node.class_name,
        text=node.text,
        resource_id=node.resource_id,
        description=node.description,
        package=node.package,
        bounds=(node.left, node.top, node.right, node.bottom),
        clickable=node.clickable,
        enabled=node.enabled,
        checked=node.checked,
        focused=node.focused,
        selected=node.selected,
        scrollable=node.scrollable,
        password=node.password,
    )
