"""The page of one endpoint, that Deploy links to, in a real browser."""

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, expect

from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.browser

PROMPT = {
    "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "headline", "required": True}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "3": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["2", 0]}},
}


async def test_the_page_of_an_endpoint_asks_for_a_key_and_keeps_it_in_the_tab(
    chromium: Browser, platform: Platform, platform_key: str
) -> None:
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        body = {"name": "Page of its own", "slug": "page-of-its-own", "workflow_json": PROMPT}
        made = client.post("/v1/comfyui-workflows", json=body).raise_for_status().json()
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{platform.url}/docs?url=/v1/comfyui-workflows/{made['path']}/openapi.json")
    field = page.get_by_label("API key")
    await expect(field).to_be_focused()
    found = await Axe().run(page, context="form")
    assert found.violations_count == 0, found.generate_report()
    await field.fill("rf_live_wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("This key is unknown, expired or revoked.")
    await field.fill(platform_key)
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#reference")).to_contain_text("Page of its own")
    # Few routes, of one thing: they are seen at once.
    await expect(page.locator(".opblock-post")).to_contain_text("/runs")
    assert platform_key not in page.url + await page.evaluate(
        "JSON.stringify([{ ...localStorage }, { ...sessionStorage }])"
    )
    await context.close()
