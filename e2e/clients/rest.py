"""Credentials by the TURN REST rules, made with the standard library and not by the code under test."""

import base64
import hashlib
import hmac
import time


def credentials(secret: str, user: str, expires_in: int = 600) -> tuple[str, str]:
    username = f"{int(time.time()) + expires_in}:{user}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()
