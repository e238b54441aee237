"""Pages in a real browser, for tests with the fixture `browser`."""

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def own_part(path):
    """A page without plotly's JavaScript."""
    text = path.read_text(encoding="utf-8")
    start = text.index("<script>/**")
    return text[:start] + text[text.index("</script>", start) :]


def show(browser, path, width=1400):
    """Open a file in a window of so many pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get_log("browser")
    browser.get(path.as_uri())


def find(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def text(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector).text


def hover(browser, selector):
    """What is shown over a point."""
    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element(element).perform()
    shown = "return [...document.querySelectorAll('.hoverlayer .hovertext text')].map(t => t.textContent).join(' ')"
    return WebDriverWait(browser, 5).until(lambda _: browser.execute_script(shown))


def points(browser, plot, trace):
    return len(find(browser, point(plot, trace)))


def point(plot, trace):
    """Selects the points of a trace of the first y axis."""
    return f"#{plot} :is(.xy, .plot) > .scatterlayer .trace:nth-child({trace}) .points path"
