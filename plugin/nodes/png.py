"""From ComfyUI's IMAGE tensors to PNG files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_CHANNELS = (1, 3, 4)
# Measured on 512-pixel pictures: level 1 takes 60 % of the time of the usual level 4 for 11 % more bytes, and the
# engine runs nothing else meanwhile.
_COMPRESS_LEVEL = 1

_log = logging.getLogger(__name__)


def to_pictures(value: Any) -> list[Image.Image]:
    """Each image of an IMAGE batch as a picture of 8 bits per channel.

    An IMAGE is a float tensor (or array) of shape batch x height x width x channels, 0.0 to 1.0, with 1, 3 or 4
    channels. Values are rounded, so a loaded 8-bit picture comes out with the same bytes; values outside are clipped.

    Raises:
        ValueError: not such a tensor, an empty batch, or a picture that consists of NaN alone.
    """
    import numpy as np
    from PIL import Image

    array = np.asarray(value.detach().cpu().float().numpy() if hasattr(value, "detach") else value)
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.ndim != 4 or array.shape[3] not in _CHANNELS or 0 in array.shape[1:3]:
        raise ValueError(f"expected an image batch (batch, height, width, 1, 3 or 4 channels), got shape {array.shape}")
    if array.shape[0] == 0:
        raise ValueError("the image batch is empty")
    return [Image.fromarray(_to_bytes(image, number, len(array))) for number, image in enumerate(array, start=1)]


def _to_bytes(image: NDArray[np.float32], number: int, count: int) -> NDArray[np.uint8]:
    import numpy as np

    broken = np.isnan(image)
    if broken.any():
        if broken.all():
            raise ValueError(
                f"image {number} of {count} holds no numbers at all (NaN). This usually comes from a VAE in half "
                "precision: start ComfyUI with --fp32-vae or use another VAE"
            )
        _log.warning("Runflow: image %d of %d has %d values that are NaN; saved as 0.", number, count, broken.sum())
        image = np.where(broken, 0.0, image)
    scaled: NDArray[np.uint8] = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return scaled[:, :, 0] if scaled.shape[2] == 1 else scaled


def save_new(picture: Image.Image, path: Path) -> bool:
    """Write `path` as PNG without any metadata; False, and nothing written, when it already exists."""
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            picture.save(file, format="PNG", compress_level=_COMPRESS_LEVEL)
    except BaseException:
        # A full disk must not leave half a picture that looks like a result.
        path.unlink(missing_ok=True)
        raise
    return True
