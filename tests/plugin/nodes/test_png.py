import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plugin.nodes.png import save_new, to_pictures


def test_every_8_bit_value_survives() -> None:
    loaded = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1) / np.float32(255)
    (picture,) = to_pictures(loaded)
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture).ravel(), np.arange(256))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_channels_choose_the_mode(channels: int, mode: str) -> None:
    pictures = to_pictures(np.zeros((2, 3, 5, channels), dtype=np.float32))
    assert [(picture.mode, picture.size) for picture in pictures] == [(mode, (5, 3))] * 2


def test_a_single_image_is_a_batch_of_one() -> None:
    assert len(to_pictures(np.zeros((3, 5, 3), dtype=np.float32))) == 1


def test_values_outside_are_clipped() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 7.0, np.inf, -np.inf], dtype=np.float32).reshape(1, 1, 7, 1)
    assert np.asarray(to_pictures(values)[0]).ravel().tolist() == [0, 0, 128, 255, 255, 255, 0]


def test_a_few_nan_are_saved_as_black_with_a_warning_and_a_picture_of_nan_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = np.ones((2, 2, 2, 3), dtype=np.float32)
    image[1, 0, 0, 0] = np.nan
    with caplog.at_level(logging.WARNING):
        assert np.asarray(to_pictures(image)[1])[0, 0].tolist() == [0, 255, 255]
    assert "image 2 of 2 has 1 values that are NaN" in caplog.text
    image[1] = np.nan
    with pytest.raises(ValueError, match="image 2 of 2 holds no numbers"):
        to_pictures(image)


def test_half_a_picture_is_removed_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_picture: Any, file: Any, **_options: Any) -> None:
        file.write(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_new(Image.new("RGB", (2, 2)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
