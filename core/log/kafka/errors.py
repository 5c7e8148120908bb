"""Kafka's errors as archon's: what retrying can help, what the user must change, what is for good."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from aiokafka import errors as kafka

from core.errors import (
    AccessDenied,
    ArchonError,
    BackendUnavailable,
    ConfigurationError,
    MessageTooLarge,
    PermanentError,
)
from core.safety.display import display

_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_DENIED = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
)
_LOGIN = (
    kafka.AuthenticationFailedError,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)
_INVALID = (kafka.InvalidTopicError, kafka.InvalidTimestampError, kafka.PolicyViolationError)
_SETUP_HINT = "create it with archon-agent topics setup, or run with --create-topics"


def no_topic(topics: Sequence[str]) -> ConfigurationError:
    """For topics that are not there; Kafka says the same of topics that this user may not see."""
    return ConfigurationError(
        f"Kafka has no topic {', '.join(topics)}, or hides it from this user", hint=_SETUP_HINT
    )


def translate(error: Exception, doing: str) -> ArchonError:
    """`error` as one of archon's; `doing` says in words what failed (`publishing to topic x`)."""
    if isinstance(error, ArchonError):
        return error
    if isinstance(error, _TOO_LARGE):
        return MessageTooLarge(f"{doing}: larger than the broker accepts")
    if isinstance(error, _DENIED):
        return AccessDenied(f"{doing}: Kafka's access rules refuse it", hint="check the ACLs of this user")
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        return BackendUnavailable(f"{doing}: the topic does not exist", hint=_SETUP_HINT)
    if isinstance(error, (*_LOGIN, OSError, TimeoutError)):
        return BackendUnavailable(f"{doing}: {cause_of(error)}")
    if isinstance(error, _INVALID):
        return PermanentError(f"{doing}: {_text(error)}")
    return BackendUnavailable(f"{doing}: {_text(error)}")


def cause_of(error: BaseException) -> str:
    """Why a connection failed, in words: refused, TLS, login, silence."""
    if isinstance(error.__cause__, ssl.SSLError):
        error = error.__cause__
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the broker's certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "the handshake failed"
        return f"TLS: {reason.replace('_', ' ').lower()}; does this listener speak TLS?"
    if isinstance(error, _LOGIN):
        return f"the broker refused the login ({_text(error)})"
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    if isinstance(error, TimeoutError | kafka.RequestTimedOutError | kafka.KafkaTimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, kafka.KafkaConnectionError | ConnectionError):
        return "the broker closed the connection; is kafka.security_protocol that of this listener?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return _text(error)


def _text(error: BaseException) -> str:
    message = getattr(error, "message", "") or ""
    text = str(error).removeprefix(f"[Error {getattr(error, 'errno', '')}] ")
    return display(text if text != type(error).__name__ else message or text, 200)
