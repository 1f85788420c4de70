"""The type of a call's context; the class itself cannot be subscripted at run time."""

from typing import Any, TypeAlias

import grpc.aio

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
