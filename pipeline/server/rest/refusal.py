"""A request that is turned down. Pure; `answers.py` tells the client."""


class RequestRefusedError(Exception):
    """A request that is answered with this error.

    Attributes:
        status: of HTTP.
        code: the provider's word for it, None if it has none.
        message: one line for a person.
        param: the field at fault.
    """

    def __init__(self, status: int, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
