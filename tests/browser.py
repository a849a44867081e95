"""A headless Chromium for the tests of the report's page, driven by selenium."""

import contextlib
import os
import shutil
import tempfile

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
LOGS = {"browser": "ALL", "performance": "ALL"}
BROWSERS = "chromium", "chromium-browser", "google-chrome"


def why_missing():
    """Return what is not installed, as a text; None if the tests can run."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if not any(map(shutil.which, BROWSERS)) or not shutil.which("chromedriver"):
        return "chromium or chromedriver is not installed"
    return None


@contextlib.contextmanager
def chromium():
    """Yield a selenium driver of a new headless Chromium with an empty profile."""
    if reason := why_missing():
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    options.set_capability("goog:loggingPrefs", LOGS)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(shutil.which("chromedriver"), env={**os.environ})
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


def show(driver, path, width=1280, height=900, dark=False):
    """Open a file in a window of this size, in the light or the dark scheme."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]},
    )
    driver.get(path.as_uri())


def draw(driver, strokes):
    """Draw strokes on the canvas by the pointer; each is a list of points (x, y), 0..1."""
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = driver.find_element("id", "canvas")
    driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas
    )
    side = canvas.size["width"]
    for stroke in strokes:
        actions = ActionChains(driver, duration=20)
        for i, (x, y) in enumerate(stroke):
            offset = round((x - 0.5) * side), round((y - 0.5) * side)
            actions.move_to_element_with_offset(canvas, *offset)
            if i == 0:
                actions.click_and_hold()
        actions.release().perform()
    wait_for_frame(driver)


def wait_for_frame(driver):
    """Wait until what the last event asked for is painted."""
    driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )
