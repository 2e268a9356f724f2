"""What went wrong at an OpenAI-compatible server, as the errors that a servicer may raise."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import openai

from antiphon_runtime.errors import BackendFailed, InvalidInput, NoCapacity, ServiceError, Unavailable

BUSY = (429, 503)


@contextmanager
def translated() -> Iterator[None]:
    """Raises ServiceErrors in place of the client's."""
    try:
        yield
    except openai.APIStatusError as error:
        raise refusal(error.status_code, _message(error)) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        raise Unavailable(f"the model's server cannot be reached: {cause}", reason="ENDPOINT_UNREACHABLE") from error
    except openai.APIError as error:
        raise _failed(str(error.message)) from error
    except (ValueError, TypeError, AttributeError) as error:  # what the client makes of what is no Chat Completion
        raise _failed(f"{type(error).__name__}: {error}") from error


def refusal(status: int, message: str) -> ServiceError:
    """What an HTTP status of the server means."""
    if status in BUSY:
        return NoCapacity(f"the model's server is busy ({status}): {message}", reason="ENDPOINT_BUSY")
    if status in (400, 413, 422):
        if "context" in message.lower():
            return InvalidInput(f"the conversation is too long: {message}", reason="CONTEXT_OVERFLOW")
        return InvalidInput(f"the model cannot take this conversation: {message}", reason="REFUSED_BY_MODEL")
    if status >= 500:
        return Unavailable(f"the model's server failed ({status}): {message}", reason="ENDPOINT_FAILED")
    return BackendFailed(f"the model's server refuses us ({status}): {message}", reason="ENDPOINT_REFUSES")


def _message(error: openai.APIStatusError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or json.dumps(body) if body else error.message)[:500]


def _failed(message: str) -> BackendFailed:
    return BackendFailed(
        f"the model's server answers with what is no Chat Completion: {message[:300]}", reason="ENDPOINT_GARBAGE"
    )
