"""What the page does not do, said in a sentence."""

from __future__ import annotations


class Refused(ValueError):
    """A wish that is not granted; the message is for the page. `status`: of HTTP."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status
