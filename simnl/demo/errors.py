"""The error with which the page refuses a request, in a sentence."""

from __future__ import annotations


class Refused(ValueError):
    """A request is refused. The message is shown on the page, and `status` is the status of the HTTP answer."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status
