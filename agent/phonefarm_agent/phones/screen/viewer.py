"""One viewer of one phone's screen: its queue and its input."""

from typing import Protocol

from phonefarm_common.clock import Clock
from phonefarm_common.frame_queue import FrameQueue

from phonefarm_agent.model.screen import Frame, ViewEnded, ViewEvent
from phonefarm_agent.phones.screen.viewer_input import HoldGates, ViewerInput


class Controls(Protocol):
    """The part of a screen session that a viewer's input needs."""

    def write_control(self, data: bytes, viewer: "Viewer") -> str:
        """Write to the phone at once; return a word and a sentence when it takes no input."""
        ...

    def want_key_frame(self) -> None:
        """Ask the phone for a key frame, at most once a second."""
        ...


class Viewer:
    """What one viewer sees and does; it never waits for another."""

    def __init__(self, *, serialno: str, holds: HoldGates, clock: Clock, session: Controls) -> None:
        self.serialno = serialno
        self._session = session
        self._queue: FrameQueue[ViewEvent] = FrameQueue()
        self.input = ViewerInput(
            serialno=serialno, holds=holds, clock=clock, refused=self._queue.put
        )

    @property
    def dropped(self) -> int:
        """Return how many frames this viewer has missed."""
        return self._queue.dropped

    async def next(self) -> ViewEvent:
        """Return the next event; `ViewEnded` is the last."""
        return await self._queue.get()

    def show(self, frame: Frame) -> bool:
        """Queue a frame; return whether this viewer needs a key frame."""
        return self._queue.put_frame(frame, key=frame.key)

    def tell(self, event: ViewEvent) -> None:
        """Queue what is no frame."""
        self._queue.put(event)

    def begin_again(self) -> None:
        """Drop what waits: the next frame must be a key frame."""
        self._queue.drop_frames()

    def end(self, reason: str, message: str) -> None:
        """Queue the end."""
        self._queue.put(ViewEnded(reason=reason, message=message))

    def control(self, *, run_id: str, epoch: int, data: bytes) -> None:
        """Pass a control message on if this viewer may, else say why not."""
        self.input.pass_on(
            run_id=run_id,
            epoch=epoch,
            data=data,
            write=lambda allowed: self._session.write_control(allowed, self),
        )

    def want_key_frame(self) -> None:
        """Ask for a key frame."""
        self._session.want_key_frame()
