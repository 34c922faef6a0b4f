"""A form with one file in it (multipart/form-data), read as it arrives and kept in memory.

The framework's own reader would lay a longer recording on the disk, where speech has no business.
"""

from contextlib import aclosing
from typing import Any, Final, NamedTuple

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from pipeline.server.rest.refusal import RequestRefusedError

MAX_FIELDS: Final = 64
MAX_FIELD_BYTES: Final = 64 * 1024
"""Of a field that is text."""


class Form(NamedTuple):
    """What was sent; fields are named without the brackets that mark one as a list."""

    fields: dict[str, str | list[str]]
    file: bytes | None


async def read_form(request: Request[Any, Any, Any], file_name: str) -> Form:
    """Read the request's form.

    Args:
        request: its resource bounds the size of the body.
        file_name: the field that holds the file.

    Raises:
        RequestRefusedError: it is no such form, or a field is not UTF-8.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    parts: list[tuple[str, bytearray]] = []
    try:
        with PushMultipartParser(
            options.get("boundary", ""), max_segment_count=MAX_FIELDS, header_charset="utf8"
        ) as parser:
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    for found in parser.parse(chunk) if chunk else ():
                        _take(found, parts, file_name)
        return _sorted(parts, file_name)
    except (MultipartError, UnicodeDecodeError):
        raise RequestRefusedError(400, None, "The body of the request is not a multipart form.") from None


def _take(found: MultipartSegment | bytes | None, parts: list[tuple[str, bytearray]], file_name: str) -> None:
    if isinstance(found, MultipartSegment):
        parts.append((found.name, bytearray()))
    elif found is not None:
        name, content = parts[-1]
        if name != file_name and len(content) + len(found) > MAX_FIELD_BYTES:
            raise RequestRefusedError(400, "invalid_value", f"The field has more than {MAX_FIELD_BYTES} bytes.", name)
        content += found


def _sorted(parts: list[tuple[str, bytearray]], file_name: str) -> Form:
    fields: dict[str, str | list[str]] = {}
    file = None
    for name, content in parts:
        if name == file_name:
            file = bytes(content)
        elif name.endswith("[]"):
            values = fields.setdefault(name.removesuffix("[]"), [])
            if isinstance(values, list):
                values.append(content.decode())
        else:
            fields[name] = content.decode()
    return Form(fields, file)
