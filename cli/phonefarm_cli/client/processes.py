"""ProcessService: the work and its end."""

from typing import Any

from phonefarm.v1 import process_pb2, process_pb2_grpc

from phonefarm_cli.client.wire import Wire


class ProcessClient:
    """Reads and cancels processes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = process_pb2_grpc.ProcessServiceStub(wire.channel)

    async def page(
        self, request: process_pb2.ListProcessesRequest
    ) -> process_pb2.ListProcessesResponse:
        """Return one page of processes, the newest first."""
        page: process_pb2.ListProcessesResponse = await self._wire.answer(
            self._stub.ListProcesses, request
        )
        return page

    async def get(self, process_id: str) -> process_pb2.Process:
        """Return one process."""
        request = process_pb2.GetProcessRequest(process_id=process_id)
        process: process_pb2.Process = await self._wire.answer(self._stub.GetProcess, request)
        return process

    async def cancel(
        self, request: process_pb2.CancelProcessRequest
    ) -> process_pb2.CancelProcessResponse:
        """Ask for a process to end."""
        answer: process_pb2.CancelProcessResponse = await self._wire.answer(
            self._stub.CancelProcess, request
        )
        return answer
