"""The page of a report in a real browser: what is drawn is read, computed and shown correctly."""

import json
import re

import browser
import numpy as np
import pytest
from helpers import seed_both

from fastbp import Pixels, network, network2
from fastbp.report import centring, figures, page

reason = browser.why_missing()
pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(reason is not None, reason=str(reason)),
]  # fmt: skip

MINUS, TIMES = "\u2212", "\u00d7"
SEVEN = [[(0.25, 0.2), (0.5, 0.22), (0.75, 0.2), (0.6, 0.5), (0.45, 0.85)]]
CROSS = [[(0.3, 0.3), (0.9, 0.8)], [(0.85, 0.35), (0.35, 0.7)]]
DOT = [[(0.5, 0.5), (0.5, 0.5)]]
NETS = {
    "chapter 1": lambda: network.Network([784, 30, 10]),
    "no hidden layer": lambda: network2.Network([784, 10]),
    "tanh, cross-entropy": lambda: network2.Network([784, 20, 10], activation="tanh"),
    "relu, softmax": lambda: network2.Network(
        [784, 33, 17, 10], network2.LogLikelihoodCost, activation="relu"
    ),
    "linear, quadratic": lambda: network2.Network(
        [784, 8, 10], network2.QuadraticCost, activation="linear"
    ),
    "four layers, tanh": lambda: network2.Network(
        [784, 12, 9, 7, 5], network2.QuadraticCost, activation=["sigmoid", "relu", "tanh"],
        output="tanh",
    ),
    "relu outputs": lambda: network2.Network(
        [784, 12, 10], network2.QuadraticCost, output="relu"
    ),
    "linear outputs": lambda: network2.Network(
        [784, 12, 26], network2.QuadraticCost, output="linear"
    ),
    "float32": lambda: network2.Network([784, 100, 10], dtype=np.float32),
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as driver:
        yield driver


@pytest.fixture
def driver(chromium):
    """Return the driver; the page of a test must not write to the console."""
    chromium.get_log("browser")
    yield chromium
    messages = [entry["message"] for entry in chromium.get_log("browser")]
    assert [m for m in messages if "willReadFrequently" not in m] == []  # of the tests' own reading


def samples(n_out, n=40):
    """Return rectangles of ink at random places, and labels."""
    rng = np.random.default_rng(8)
    X = np.zeros((n, 28, 28), np.uint8)
    for x in X:
        top, left, height, width = rng.integers(2, 13, 4)
        x[top : top + height, left : left + width] = rng.integers(1, 256, (height, width))
    return Pixels(X.reshape(n, 784)), np.arange(n) % max(n_out, 2)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes the report of a network, and returns its path."""
    original = figures.calls_per_second
    monkeypatch.setattr(figures, "calls_per_second", lambda function: original(function, 0))

    def write(net, name="model.json"):
        path, (X, labels) = tmp_path / "report.html", samples(net.sizes[-1])
        if net.sizes[-1] == 1 and net.activations[-1] == "tanh":
            labels = 2 * labels - 1
        data = X, labels
        curves = {"accuracy": {"test": [80.0, 90.0]}, "cost": {"training": [2.0, 1.0]}}
        page.write_report(path, net, data, data, model_name=name, curves=curves)
        return path

    return write


@pytest.fixture
def opened(write, driver):
    """Return a driver with the report of a network of chapter 3."""
    seed_both()
    browser.show(driver, write(network2.Network([784, 30, 10])))
    return driver


def value(driver, expression):
    """Return the value of an expression of JavaScript; arrays as those of NumPy."""
    found = driver.execute_script(
        f"const v = {expression}; return ArrayBuffer.isView(v) ? Array.from(v) : v"
    )
    return np.array(found, float) if isinstance(found, list) else found


def click(driver, selector, i=0):
    driver.find_elements("css selector", selector)[i].click()
    browser.wait_for_frame(driver)


def text(driver, name):
    return driver.find_element("id", name).text


# ------------------------------------------------ the forward and the backward pass


@pytest.mark.parametrize("name", NETS)
def test_a_drawing_is_computed_as_in_python(name, write, driver):
    """BP1 to BP4 for each activation, cost and depth."""
    seed_both()
    net = NETS[name]()
    browser.show(driver, write(net))
    click(driver, "#clear")
    browser.draw(driver, SEVEN)
    x = value(driver, "page.x")[:, None]
    assert 20 < (x > 0).sum() < 400
    assert x.max() == 1
    output = net.feedforward(x)
    np.testing.assert_allclose(value(driver, "page.forward.A.at(-1)"), output[:, 0], atol=1e-5)
    assert text(driver, "answer") == f"Answer: {output.argmax()}"

    j, last = 3, len(net.weights)
    click(driver, "#outputs button", j)
    y = np.eye(net.sizes[-1])[:, [j]]
    nabla_b, nabla_w = net.backprop(x, y)
    for l in range(last):
        ours = value(driver, f"page.backward.Delta[{l + 1}]")
        np.testing.assert_allclose(ours, nabla_b[l][:, 0], atol=1e-4)
        k = net.sizes[l] // 2
        ours = value(
            driver, f"weightGradient(page.forward.A[{l}], page.backward.Delta[{l + 1}], {j}, {k})"
        )
        np.testing.assert_allclose(ours, nabla_w[l][j, k], atol=1e-4)
    gradient = net.weights[0].T @ nabla_b[0]
    np.testing.assert_allclose(
        value(driver, "page.backward.inputGradient"), gradient[:, 0], atol=1e-4
    )
    cost = getattr(net, "cost", network2.QuadraticCost).fn(output.astype(float), y)
    ours = value(driver, "costOf(page.net, page.forward.A.at(-1), page.target)")
    np.testing.assert_allclose(ours, cost, rtol=1e-4)


def test_input_gradient_is_that_of_the_cost(opened):
    """Against finite differences of the cost, within the page."""
    click(opened, "#outputs button", 4)
    at = [300, 406, 500]
    ours = value(opened, "page.backward.inputGradient")[at]
    numerical = opened.execute_script(
        """
        const h = 1e-5, {net, target} = page;
        const costAt = x => costOf(net, feedforward(net, x).A.at(-1), target);
        return arguments[0].map(k => [h, -h].map(step => costAt(page.x.map(
          (v, i) => (i === k ? v + step : v)))).reduce((a, b) => a - b) / (2 * h));
        """,
        at,
    )
    assert np.abs(ours).max() > 1e-6
    np.testing.assert_allclose(ours, numerical, rtol=1e-5, atol=1e-9)


def test_the_equations_show_these_numbers(opened):
    """BP1 and BP4 are recomputed from the numbers in the table."""
    browser.draw(opened, CROSS)
    click(opened, "#outputs button", 6)
    table = text(opened, "equations").replace(MINUS, "-")
    assert re.findall(r"BP\d|Input", table) == ["BP1", "BP2", "BP3", "BP4", "Input"]
    a, delta = re.search(r"\((\S+) - 1\) = (\S+)", table).groups()
    assert float(a) - 1 == pytest.approx(float(delta), abs=2e-3)
    assert float(delta) == pytest.approx(value(opened, "page.backward.Delta.at(-1)[6]"), rel=5e-3)
    a, delta, product = re.search(
        rf"to output neuron 6: (\S+) {TIMES} \((\S+)\) = (\S+)", table
    ).groups()  # fmt: skip
    assert float(a) * float(delta) == pytest.approx(float(product), rel=2e-2)


def test_an_output_neuron_can_be_given_up(opened):
    for shown in (True, False):
        click(opened, "#outputs button", 2)
        assert opened.find_element("id", "backward").is_displayed() == shown
        assert opened.find_element("id", "equations").is_displayed() == shown
        assert opened.find_element("id", "backward-hint").is_displayed() == (not shown)
        pressed = opened.find_elements("css selector", "#outputs [aria-pressed=true]")
        assert len(pressed) == shown


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "linear"])
def test_one_output_neuron_has_two_targets(output, write, driver):
    seed_both()
    net = network2.Network([784, 6, 1], network2.QuadraticCost, output=output)
    browser.show(driver, write(net))
    browser.draw(driver, SEVEN)
    x = value(driver, "page.x")[:, None]
    for target in (1, -1 if output == "tanh" else 0):
        click(driver, "#outputs button")
        delta = net.backprop(x, target)[0][0]
        np.testing.assert_allclose(value(driver, "page.backward.Delta[1]"), delta[:, 0], atol=1e-5)
    click(driver, "#outputs button")
    assert value(driver, "page.backward") is None
    assert text(driver, "answer").replace(MINUS, "-") == f"Output: {net.feedforward(x)[0, 0]:.3f}"


# ------------------------------------------------ drawing


@pytest.mark.parametrize("strokes", [SEVEN, CROSS, DOT], ids=["seven", "cross", "dot"])
def test_drawings_are_centred_as_in_python(strokes, opened):
    click(opened, "#clear")
    browser.draw(opened, strokes)
    ink = np.array(opened.execute_script("return inkOf(element('canvas')).ink")).reshape(280, 280)
    assert ink.max() == 1
    ours = value(opened, "page.x").reshape(28, 28)
    np.testing.assert_allclose(ours, centring.centre_digit(ink), atol=1e-9)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (40, 1), (28, 28), (37, 61), (280, 7)], ids=str
)  # fmt: skip
def test_any_ink_is_centred_as_in_python(shape, opened, rng):
    for share in (0.02, 0.3, 1.0):
        ink = rng.random(shape) * (rng.random(shape) < share)
        ink[shape[0] // 2, shape[1] // 3] = 0.9
        ours = opened.execute_script(
            "return Array.from(centreDigit(arguments[0], ...arguments[1], content.centring))",
            ink.ravel().tolist(), shape,
        )  # fmt: skip
        np.testing.assert_allclose(
            np.reshape(ours, (28, 28)), centring.centre_digit(ink), atol=1e-9
        )


def test_an_empty_drawing(opened):
    assert text(opened, "answer") != "Nothing is drawn"
    click(opened, "#clear")
    assert text(opened, "answer") == "Nothing is drawn"
    assert not value(opened, "page.x").any()
    assert value(opened, "centreDigit([0, 0], 1, 2, content.centring)") is None


def test_a_finger_draws(write, driver):
    from selenium.webdriver.common.action_chains import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    browser.show(driver, write(network.Network([784, 10, 10])), 390, 800)
    click(driver, "#clear")
    canvas = driver.find_element("id", "canvas")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    scrolled = value(driver, "scrollY")
    finger = PointerInput("touch", "finger")
    actions = ActionBuilder(driver, mouse=finger)
    for i, (x, y) in enumerate([(0, -90), (5, 0), (0, 90)]):
        finger.create_pointer_move(100, x, y, origin=canvas)
        if i == 0:
            finger.create_pointer_down(button=0)
    finger.create_pointer_up(button=0)
    actions.perform()
    browser.wait_for_frame(driver)
    image = value(driver, "page.x").reshape(28, 28)
    rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    assert len(rows) == 20
    assert len(columns) < 8
    assert value(driver, "scrollY") == scrolled  # the finger draws, the page stays


def test_examples_and_mistakes_are_read(opened):
    X, labels = samples(10)
    pixels = X.values(np.float64)
    assert np.array_equal(value(opened, "page.x"), pixels[0])  # the first example, at the start
    click(opened, "#examples button", 4)
    assert np.array_equal(value(opened, "page.x"), pixels[np.argmax(labels == 4)])
    click(opened, "#mistake-images button", 1)
    found = (pixels == value(opened, "page.x")).all(axis=1)
    caption = opened.find_elements("css selector", "#mistake-images button")[1].text
    assert labels[found].tolist() == [int(caption.split(" → ")[0])]
    assert text(opened, "answer") == f"Answer: {caption.split(' → ')[1]}"


def test_the_keyboard_is_enough(opened):
    from selenium.webdriver.common.keys import Keys

    def send(key):
        opened.switch_to.active_element.send_keys(key)
        browser.wait_for_frame(opened)

    labels = samples(10)[1]
    opened.find_element("id", "clear").send_keys(Keys.ENTER)
    assert not value(opened, "page.x").any()
    for key in (Keys.TAB, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ENTER):
        send(key)
    assert opened.switch_to.active_element.get_attribute("aria-label") == "Load a 1"
    pixels = samples(10)[0].values(np.float64)[np.argmax(labels == 1)]
    assert np.array_equal(value(opened, "page.x"), pixels)
    opened.execute_script("document.querySelector('#outputs button').focus()")
    send(Keys.ARROW_UP)  # from the first to the last
    send(Keys.SPACE)
    assert value(opened, "page.neuron.j") == 9


# ------------------------------------------------ what is shown


def test_all_pictures_are_painted(opened):
    browser.draw(opened, SEVEN)
    click(opened, "#outputs button", 1)
    painted = value(
        opened,
        "[...document.querySelectorAll('canvas')].map(c => c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0))",
    )
    assert len(painted) > 45
    assert painted.all()


def test_colours_of_the_gradient(opened):
    """Blue where more ink lowers the cost, red where less does."""
    click(opened, "#outputs button", 1)
    gradient = value(opened, "page.backward.inputGradient")
    for i in (int(gradient.argmin()), int(gradient.argmax())):
        red, _, blue = value(
            opened,
            f"element('input-gradient').getContext('2d')"
            f".getImageData({i % 28 * 8 + 2}, {i // 28 * 8 + 2}, 1, 1).data.slice(0, 3)",
        )
        assert (blue > red) == (gradient[i] < 0)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_scrolls_sideways(width, write, driver):
    net = network2.Network([784, 30, 20, 27])
    browser.show(driver, write(net, "a_long_name_of_a_model_" * 4), width)
    browser.draw(driver, CROSS)
    click(driver, "#outputs button", 1)
    widths = value(driver, "[document.documentElement.scrollWidth, innerWidth]")
    assert widths.tolist() == [width] * 2


def luminance(colour):
    channels = np.array([int(c) for c in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(dark, write, driver):
    """All texts have a contrast of 4.5 at least, as WCAG 2 asks for."""
    browser.show(driver, write(network.Network([784, 10, 10])), dark=dark)
    found = driver.execute_script(
        "const style = selector => getComputedStyle(document.querySelector(selector));"
        "return [style('body').backgroundColor, ...['body', '.note', '.positive', '.negative',"
        "'.legend .test', '.legend .training', 'dt'].map(name => style(name).color)]"
    )
    background, *texts = map(luminance, found)
    assert (background < 0.1) == dark
    for colour in texts:
        light, deep = max(colour, background), min(colour, background)
        assert (light + 0.05) / (deep + 0.05) >= 4.5


def test_elements_have_names(opened):
    """For screen readers: buttons and pictures have a name, and one heading follows another."""
    click(opened, "#outputs button", 1)
    nameless = opened.execute_script(
        "return [...document.querySelectorAll('button, [role=img], [role=group], [role=region]')]"
        ".filter(e => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() ||"
        "document.getElementById(e.getAttribute('aria-labelledby'))?.textContent))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []
    levels = [int(n) for n in value(
        opened, "[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])"
    )]  # fmt: skip
    assert levels[0] == 1
    assert max(np.diff(levels)) == 1


def test_a_page_without_a_canvas(driver, tmp_path, rng):
    path, data = tmp_path / "report.html", (rng.random((30, 20)), np.arange(30) % 4)
    page.write_report(path, network.Network([20, 6, 4]), data, data, model_name="m")
    browser.show(driver, path)
    assert "has 20 inputs" in text(driver, "drawing")


def test_the_page_makes_no_request_and_opens_quickly(write, driver):
    path = write(network.Network([784, 100, 10]))
    driver.get_log("performance")
    durations = []
    for _ in range(3):
        browser.show(driver, path)
        browser.draw(driver, DOT)
        durations.append(value(
            driver, "performance.getEntriesByType('navigation')[0].loadEventEnd"
        ))  # fmt: skip
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in urls if not url.startswith("data:")} == {path.as_uri()}
    assert 0 < min(durations) < 2000
