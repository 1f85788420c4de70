"""Screens on the wire."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, assert_never

from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2
from phonefarm.v1 import screen_pb2 as pb

from phonefarm_agent.model import screen
from phonefarm_agent.model.screen import LOW, NORMAL, Quality, ViewMode

_MODES: Final[Mapping[ViewMode, pb.ViewMode.ValueType]] = MappingProxyType(
    {ViewMode.VIDEO: pb.VIEW_MODE_VIDEO, ViewMode.STILLS: pb.VIEW_MODE_STILLS}
)


PNG: Final = pb.STILL_FORMAT_PNG


def mode_of(order: agent_pb2.ServeView) -> ViewMode:
    """Return how to show the screen; what this release does not know is video."""
    return ViewMode.STILLS if order.mode == pb.VIEW_MODE_STILLS else ViewMode.VIDEO


def quality_of(order: agent_pb2.ServeView) -> Quality:
    """Return the quality; what this release does not know is normal."""
    return LOW if order.quality == pb.VIEW_QUALITY_LOW else NORMAL


def event_to_wire(event: screen.ViewEvent) -> agent_pb2.ScreenReport:
    """Return the report of what a viewer sees."""
    return agent_pb2.ScreenReport(event=_event(event))


def _event(event: screen.ViewEvent) -> pb.ViewEvent:
    match event:
        case screen.Frame():
            frame = pb.VideoFrame(data=event.data, key=event.key, timestamp_us=event.timestamp_us)
            return pb.ViewEvent(frame=frame)
        case screen.StreamInfo():
            info = pb.StreamInfo(
                mode=_MODES[event.mode],
                codec=event.codec,
                width=event.width,
                height=event.height,
                reason=event.reason,
                warning=event.warning,
            )
            return pb.ViewEvent(info=info)
        case screen.InputRefused():
            refused = pb.InputRefused(reason=event.reason, message=event.message)
            return pb.ViewEvent(input_refused=refused)
        case screen.Clipboard():
            return pb.ViewEvent(clipboard=pb.Clipboard(text=event.text))
        case screen.ClipboardSet():
            return pb.ViewEvent(clipboard_set=pb.ClipboardSet(sequence=event.sequence))
        case screen.ViewEnded():
            return pb.ViewEvent(ended=pb.ViewEnded(reason=event.reason, message=event.message))
        case _:
            assert_never(event)


def refused_to_wire(error: screen.ScreenRefusedError) -> agent_pb2.ScreenReport:
    """Return the report that nothing is shown, and why."""
    refused = agent_pb2.ScreenRefused(reason=error.reason, message=error.message)
    return agent_pb2.ScreenReport(refused=refused)


def still_to_wire(still: screen.Still) -> agent_pb2.ScreenReport:
    """Return the report of a still."""
    taken_at = Timestamp()
    taken_at.FromDatetime(still.taken_at)
    message = pb.Still(
        picture=still.picture.data,
        format=pb.STILL_FORMAT_PNG if still.is_png else pb.STILL_FORMAT_JPEG,
        width=still.picture.width,
        height=still.picture.height,
        taken_at=taken_at,
        nodes=[_node(node) for node in still.nodes],
        tree_refused=still.tree_refused,
        moved=still.moved,
    )
    return agent_pb2.ScreenReport(still=message)


def thumbnail_to_wire(thumbnail: screen.Thumbnail) -> agent_pb2.ScreenReport:
    """Return the report of a thumbnail."""
    source = pb.THUMBNAIL_SOURCE_EVIDENCE if thumbnail.is_evidence else pb.THUMBNAIL_SOURCE_PHONE
    message = pb.Thumbnail(refused=thumbnail.refused)
    if thumbnail.picture is not None:
        message.source = source
        message.jpeg = thumbnail.picture.data
        message.width, message.height = thumbnail.picture.width, thumbnail.picture.height
    if thumbnail.taken_at is not None:
        message.taken_at.FromDatetime(thumbnail.taken_at)
    served = agent_pb2.ServedThumbnail(serialno=thumbnail.serialno, thumbnail=message)
    return agent_pb2.ScreenReport(thumbnail=served)


def _node(node: screen.UiNode) -> pb.UiNode:
    left, top, right, bottom = node.bounds
    return pb.UiNode(
        parent=node.parent,
        class_name=node.class_name,
        text=node.text,
        resource_id=node.resource_id,
        description=node.description,
        package=node.package,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        **dict.fromkeys(node.flags, True),
    )
