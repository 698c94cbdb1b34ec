"""What can go wrong with a store of files, in words that repeat nothing the store's client says.

The text of a client's exception may hold keys, tokens or signed addresses.
"""

import errno
import os
import sys
from typing import Final

# what the stores' clients raise besides OSError; looked up only once they are loaded
_FOREIGN: Final = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
    ("aiohttp", "ClientError"),
    ("huggingface_hub.errors", "HfHubHTTPError"),
    ("huggingface_hub.errors", "HFValidationError"),
    ("fsspec.exceptions", "FSTimeoutError"),
)


def shown(path: str) -> str:
    """The path as text that any terminal or log takes."""
    return path.encode("utf-8", "backslashreplace").decode()


def foreign() -> tuple[type[Exception], ...]:
    """OSError, and what the clients that are loaded raise beside it."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN)
    found = (getattr(module, name, None) for module, name in loaded if module)
    return (OSError, *(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)))


def why(error: BaseException) -> str:
    """What is wrong, in words of ours."""
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENOENT:
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, NotADirectoryError):
        return "it is not a folder"
    if isinstance(error, OSError) and error.errno and type(error).__module__ == "builtins":
        return os.strerror(error.errno).lower()
    return {
        "NoCredentialsError": "there are no credentials for it",
        "PartialCredentialsError": "its credentials are incomplete",
        "NoSuchBucket": "the bucket does not exist",
        "EndpointConnectionError": "the store cannot be reached",
        "RepositoryNotFoundError": "the repository does not exist or is private",
    }.get(type(error).__name__, f"the store answered {type(error).__name__}")


def remedy(error: BaseException) -> str:
    """What may help."""
    if isinstance(error, FileNotFoundError):
        return "check the spelling of the path"
    if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        return "check the rights to it and the credentials in storage_options or the environment"
    return "check the path, storage_options and the connection"
