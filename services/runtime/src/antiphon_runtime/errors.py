"""Errors a servicer may raise, and the one place they become gRPC statuses.

ServiceError
  InvalidInput      INVALID_ARGUMENT      the caller must change the request
  NoCapacity        RESOURCE_EXHAUSTED    another replica, or later
  Unavailable       UNAVAILABLE           another replica, now
  Unauthenticated   UNAUTHENTICATED       the caller must present a valid token
  BackendFailed     INTERNAL              ours to fix; the stream is lost
ConfigError         none: the process refuses to start
ModelLost           none: the process ends, to be started again
"""

import grpc


class ServiceError(Exception):
    """Ends an RPC with `code`; `reason` is a constant name that a program may act on."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.reason


class InvalidInput(ServiceError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_INPUT"


class NoCapacity(ServiceError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "NO_CAPACITY"


class Unavailable(ServiceError):
    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class Unauthenticated(ServiceError):
    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class BackendFailed(ServiceError):
    reason = "BACKEND_FAILED"


class ConfigError(Exception):
    """A setting, file or library is not as it must be. The message says which, and what to do."""


class ModelLost(Exception):
    """The model is gone for good, such as with its GPU: only a new process can help."""


def root_cause(error: BaseException) -> BaseException:
    """The first leaf of an exception group: what the caller should hear about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
