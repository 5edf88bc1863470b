"""Reading a file that may be anything: too big, empty, a folder, or not text at all.

Nothing here interprets a format; it returns bytes or text, or raises `CaseError` with one
sentence that names the file.
"""

from pathlib import Path

from gridrl.errors import CaseError

# The largest public case (82,000 buses) is 22 MB of text; ten times that is surely a mistake.
LIMIT_BYTES = 256 * 1024 * 1024


def read_bytes(path: str | Path, *, limit: int = LIMIT_BYTES) -> bytes:
    """Content of a regular file of at most ``limit`` bytes.

    Raises
    ------
    CaseError
        The file is missing, no regular file, unreadable, empty or too big.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise CaseError(f"{path} is a folder. Give the path of a case file.")
        if not path.is_file():
            raise CaseError(f"{path} does not exist or is no regular file. Check the path.")
        size = path.stat().st_size
        if size > limit:
            raise CaseError(
                f"{path} has {size} bytes; gridrl reads at most {limit}. Split the case."
            )
        with path.open("rb") as stream:
            data = stream.read(size + 1)  # one more: the file may have grown since it was measured
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        if isinstance(error, CaseError):
            raise
        raise CaseError(f"{path} cannot be read: {error}. Check its permissions.") from error
    if len(data) > size:
        raise CaseError(f"{path} grew while it was read. Try again when it is complete.")
    if not data.strip():
        raise CaseError(f"{path} is empty. Give a case file.")
    return data


def decode(data: bytes, path: str | Path) -> str:
    """The bytes of a text file as text: UTF-8, else Latin-1 (older PSS/E and MATPOWER files).

    Raises
    ------
    CaseError
        The bytes are binary: they hold a NUL.
    """
    if b"\0" in data:
        raise CaseError(f"{path} is a binary file, not a text case. Give the text export.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
