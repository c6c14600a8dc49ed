"""Everything that can go wrong, by whose fault it is. Knows nothing of HTTP.

FoldserveError
├── InvalidRequest        the request is malformed, or does not fit the model
│   └── TooLarge          … only because it is too big
├── TooSlow               the client took too long to send its request
├── UnsupportedType       the body is of a kind that this door does not take
│   └── UnsupportedEncoding   … only because of its compression
├── KeyMissing            the route asks for a key
├── Forbidden             the key given does not open this route, or nothing does
├── NotSupported          the protocol knows this, this server does not
├── NotFound              no such model, version or layer
├── NotReady              there is such a model, but it cannot answer now
│   └── Stopping          … because the service is about to end
├── QueueFull             more rows are waiting than the bound allows; says when to come again
├── DeadlinePassed        the time that the caller allowed was over before the run
├── InferenceFailed       the runtime failed on a request that was valid
├── LoadFailed            a model cannot be loaded, or not in place of what is served
└── BadBundle             a bundle is damaged, foreign or unsafe

Every message is one sentence: what was expected, what came, and where.
"""


class FoldserveError(Exception):
    """The root: catch this to catch all that foldserve says itself."""


class InvalidRequest(FoldserveError):
    """The request is malformed, or does not fit the model's inputs."""


class TooLarge(InvalidRequest):
    """The request exceeds a limit of size."""


class UnsupportedType(FoldserveError):
    """The body's media type or encoding is not one that this route reads."""


class UnsupportedEncoding(UnsupportedType):
    """The body is compressed in a way that is not read."""


class TooSlow(FoldserveError):
    """The client took too long to send its request."""


class KeyMissing(FoldserveError):
    """The route asks for a key, and none, or an unknown one, was given."""


class Forbidden(FoldserveError):
    """The key given does not open this route, or the route is closed to everybody."""


class NotSupported(FoldserveError):
    """What the protocol knows and this server does not do."""


class NotFound(FoldserveError):
    """No such model, version or layer."""


class NotReady(FoldserveError):
    """The model is known but not served: it failed to load, or is not loaded yet."""


class Stopping(NotReady):
    """The service, or this version of the model, takes no more requests: it is about to end."""


class QueueFull(FoldserveError):
    """More rows are waiting than the bound allows; `retry_after_s` is when there will be room."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlinePassed(FoldserveError):
    """The time that the caller allowed was over before the network ran."""


class InferenceFailed(FoldserveError):
    """The runtime failed on a request that had been found valid."""


class LoadFailed(FoldserveError):
    """A model was asked to be loaded and could not be; what was served before still is."""


class BadBundle(FoldserveError):
    """A bundle is damaged, of another format, or refers to something outside itself."""


def shorten(value: object, limit: int = 100) -> str:
    """The value as text for a message: what came from outside is echoed, but never at length."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
