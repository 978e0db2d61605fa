"""Images as clients send them: base64 text, one per element."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

from triton_vllm.errors import RequestError, one_line


def decode_images(encoded: Sequence[bytes]) -> list[Any]:
    """Return PIL images in RGB. Raises RequestError naming the element that is none."""
    if not encoded:
        return []
    from PIL import Image

    images: list[Any] = []
    for index, data in enumerate(encoded):
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            msg = f'input "image" element {index} is not base64: {one_line(error)}'
            raise RequestError(msg) from None
        try:
            images.append(Image.open(io.BytesIO(raw)).convert("RGB"))
        except Exception as error:
            # PIL raises many types for broken or oversized images.
            reason = "unknown image format" if "cannot identify" in str(error) else one_line(error)
            msg = f'input "image" element {index} is no readable image: {reason}'
            raise RequestError(msg) from None
    return images
