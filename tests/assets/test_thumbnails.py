import io

import httpx
import pytest
from PIL import Image

from runflow.assets import service, thumbnails
from runflow.services import Services
from runflow.web.auth import Principal
from tests.assets.uploading import confirm, open_session, picture, send, upload
from tests.conftest import MakeKey, new_org, open_client


def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def drawn(content: bytes) -> Image.Image:
    small = thumbnails.draw(content)
    assert small is not None
    image = Image.open(io.BytesIO(small))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK"])
def test_every_kind_of_picture(mode: str) -> None:
    source = Image.linear_gradient("L").resize((1200, 600))
    kind = "TIFF" if mode in ("F", "CMYK", "I") else "PNG"
    if mode in ("I;16", "I"):
        source = source.convert("I").point(lambda value: value * 256).convert(mode)
    content = encoded(source.convert(mode) if mode not in ("I;16", "I") else source, kind)
    image = drawn(content)
    assert image.size == (512, 256)
    plain = image.convert("L")
    shades = plain.tobytes()
    assert min(shades) < 60 and max(shades) > 190, "sixteen bits and palettes keep their range"


def test_small_pictures_are_not_enlarged() -> None:
    assert drawn(picture(size=(64, 48))).size == (64, 48)


def test_a_picture_stands_upright_and_says_nothing_about_its_owner() -> None:
    source = Image.new("RGB", (400, 200), "white")
    source.paste("black", (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Somebody's camera"
    image = drawn(encoded(source, "JPEG", exif=exif))
    assert image.size == (200, 400)
    assert image.convert("L").tobytes()[50 * 200 + 100] < 60
    assert not image.getexif()


def test_transparency_stays() -> None:
    image = drawn(encoded(Image.new("RGBA", (600, 600), (255, 0, 0, 0)), "PNG"))
    assert image.mode == "RGBA" and set(image.getchannel("A").tobytes()) == {0}


def test_bombs_and_broken_files_have_none() -> None:
    bomb = encoded(Image.new("L", (20_000, 8_000)), "PNG")
    assert len(bomb) < 200_000
    assert thumbnails.draw(bomb) is None
    whole = picture("JPEG", (1000, 1000))
    for broken in (b"", b"nonsense", whole[: len(whole) // 2], picture()[:60]):
        assert thumbnails.draw(broken) is None


def test_a_large_photo_is_decoded_small() -> None:
    photo = encoded(Image.new("RGB", (9_000, 6_000), "navy"), "JPEG")
    assert drawn(photo).size == (512, 341)


async def test_an_image_has_one_from_its_confirmation_on(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, services: Services
) -> None:
    asset = await upload(client, picture(size=(1024, 768)))
    answer = await anonymous.get(asset["thumbnail_url"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (512, 384)
    listed = (await client.get("/v1/assets")).json()["items"][0]
    assert (await anonymous.get(listed["thumbnail_url"])).content == answer.content
    assert [key async for key in services.storage.list(f"thumbnails/{asset['id']}")] == [
        f"thumbnails/{asset['id']}/thumbnail.webp"
    ]


async def test_other_files_have_none(client: httpx.AsyncClient) -> None:
    for mime_type, content in (("text/plain", b"hello"), ("image/svg+xml", b"<svg xmlns='x'/>")):
        asset = await upload(client, content, mime_type, "x")
        assert asset["thumbnail_url"] is None
        assert (await client.get(f"/v1/assets/{asset['id']}")).json()["thumbnail_url"] is None


async def test_a_bomb_is_no_reason_to_refuse_what_comfyui_could_read(client: httpx.AsyncClient) -> None:
    asset = await upload(client, encoded(Image.new("L", (10_000, 8_000)), "PNG"))
    assert asset["thumbnail_url"] is None


async def test_an_inline_image_has_one_when_it_is_read(services: Services, make_key: MakeKey) -> None:
    import base64

    org = await new_org(services)
    key = await make_key(org=org)
    principal = await services.authenticator.principal(key)
    assert isinstance(principal, Principal)
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    asset_id = await service.store_data_uri(services, principal, uri, "photo")
    async with open_client(services, key) as client:
        assert (await client.get("/v1/assets")).json()["items"][0]["thumbnail_url"] is None
        assert (await client.get(f"/v1/assets/{asset_id}")).json()["thumbnail_url"] is not None
        assert (await client.get("/v1/assets")).json()["items"][0]["thumbnail_url"] is not None


async def test_a_second_confirmation_keeps_it(client: httpx.AsyncClient, services: Services) -> None:
    session = await open_session(client, picture())
    await send(session["upload_url"], picture(), "image/png", client)
    await confirm(client, session["asset_id"])
    again = (await confirm(client, session["asset_id"])).json()
    assert (await client.get(again["thumbnail_url"])).status_code == 200
