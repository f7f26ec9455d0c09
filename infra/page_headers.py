"""The headers that the chat page comes under, wherever it is served."""

HASHED_FILES = "/assets/"
"""Vite names the files below after their content."""


def strict_headers(*, connect_to: list[str]) -> dict[str, str]:
    """Return the headers of every answer: no script, frame or connection but the page's own.

    https://www.w3.org/TR/CSP3/

    Args:
        connect_to: The other origins that the page may talk to.
    """
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"font-src 'self'; connect-src {' '.join(["'self'", *connect_to])}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
