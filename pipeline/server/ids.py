"""Names for what the server makes."""

import secrets


def new_id(prefix: str) -> str:
    """A fresh id: `item_` and 21 characters nobody can guess."""
    return f"{prefix}_{secrets.token_urlsafe(16)[:21]}"
