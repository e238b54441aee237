"""The site: it builds without a warning and without a network, its links hold, and a real browser shows it."""

import io
import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pytest
from PIL import Image

from autobss_zoo.registry import entries
from pages import find, text

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
METHODS = sorted(path.stem for path in (ROOT / "docs" / "methods").glob("*.md") if path.stem != "README")
MAIN = [
    "index",
    "docs/zoo",
    "docs/search",
    "docs/measured",
    "docs/methods/index",
    "docs/methods/autobss",
    "docs/api/autobss_zoo",
    "docs/api/searchers",
    "examples/read_a_study",
    "model_cards/resnet50_autobss",
    "benchmarks/results/search_peers_results_mobilenet",
    "CONTRIBUTING",
]
BUILD = """
import socket, sys

def refuse(*_):
    raise OSError("the site is built without a network")

socket.socket.connect = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""
OUTSIDE = re.compile(r"(?:https?:)?//")
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "embed": "src", "object": "data"}


class Parsed(HTMLParser):
    """What a page loads, links to and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.ids, self.styles = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids |= {known[name] for name in ("id", "name") if known.get(name)}
        self.styles.append(known.get("style") or "")
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        if tag == "link" and known.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(known["href"])
        if tag in LOADED and known.get(LOADED[tag]):
            self.loaded.append(known[LOADED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built site, and what was said while it was built."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", BUILD, str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.fixture(scope="module")
def pages(built):
    return {path.relative_to(built[0]).as_posix(): Parsed(path) for path in built[0].rglob("*.html")}


@pytest.fixture(scope="module")
def served(built):
    """The site's address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built[0])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def visit(browser, url, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser")
    browser.get(url)


def test_it_builds_without_a_warning(built):
    assert "WARNING" not in built[1]
    assert (built[0] / "index.html").is_file()


def test_every_link_leads_to_a_page_and_a_place_in_it(built, pages):
    broken = []
    for name, page in pages.items():
        if name == "404.html":  # its links are of the site's root
            continue
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            path, anchor = urldefrag(link)
            target = (built[0] / name).parent / unquote(path) if path else built[0] / name
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target.resolve().relative_to(built[0].resolve()).as_posix())
            if not target.is_file() or (anchor and known and unquote(anchor) not in known.ids):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(built, pages):
    loaded = {url for page in pages.values() for url in page.loaded}
    assert len(loaded) > 10
    assert [url for url in loaded if OUTSIDE.match(url)] == []
    styles = [path.read_text(encoding="utf-8") for path in built[0].rglob("*.css")]
    styles += [style for page in pages.values() for style in page.styles]
    assert [style for style in styles if re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", style)] == []


def test_every_network_has_a_card_that_the_tables_lead_to(pages):
    for table in ("zoo", "costs"):
        cards = {Path(link).stem for link in pages[f"docs/{table}.html"].links if "model_cards/" in link}
        assert len(cards) > 40
    assert {f"model_cards/{name}.html" for name, entry in entries().items() if entry.paper} <= pages.keys()


def test_everything_that_is_imported_from_the_packages_is_in_the_reference(pages):
    import autobss_search
    import autobss_zoo

    for module in (autobss_zoo, autobss_search):
        name = module.__name__
        ids = {id.rpartition(".")[2] for id in pages[f"docs/api/{name}.html"].ids}
        assert set(module.__all__) <= ids


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_page_says_what_is_asked_and_its_figures_stand_where_they_were_measured(method):
    path = ROOT / "docs" / "methods" / f"{method}.md"
    page = path.read_text(encoding="utf-8")
    heads = re.findall("^## (.*)$", page, re.MULTILINE)
    expected = ["What (it is|they are)", "When to use (it|them)", "Figures", "Deviations from (its|their) papers?"]
    assert len(heads) == 4
    assert all(map(re.fullmatch, expected, heads))
    figures = re.search(r"## Figures\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)[1]
    sources = [path.parent / link for link in re.findall(r"\]\(([^)#]+\.md)", figures)]
    stated = " ".join(source.read_text(encoding="utf-8") for source in sources)
    numbers = set(re.findall(r"\d+\.\d{2,}|\d+\.\d(?= |%|x)", figures))
    assert numbers
    known = {float(number) for number in re.findall(r"\d+\.\d+", stated)}
    assert {n for n in numbers if float(n) not in known} <= {"0.8", "1.2"}  # a range of differences


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", MAIN)
def test_a_main_page_is_shown(browser, served, page, width, tmp_path):
    visit(browser, f"{served}/{page}.html", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return innerWidth") == width  # a phone would zoom out of what is wider
    assert len(text(browser, "h1")) > 3
    picture = np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("L"), float)
    assert picture.shape == (900, width)
    middle = picture[100:]  # below the head
    assert middle.std() > 10
    assert (np.ptp(middle, axis=1) > 50).mean() > 0.2  # rows with something in them
    broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert browser.execute_script(broken) == []
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert requests
    assert [url for url in requests if not url.startswith((served, "data:"))] == []


def test_tabs_and_sidebars_lead_through_the_site(browser, served):
    visit(browser, f"{served}/index.html", 1280)
    next(tab for tab in find(browser, ".md-tabs__link") if tab.text == "Zoo").click()
    assert browser.current_url == f"{served}/docs/zoo.html"
    next(link for link in find(browser, ".md-sidebar--primary a") if link.text == "Families").click()
    assert browser.current_url == f"{served}/docs/families.html"
    next(link for link in find(browser, ".md-sidebar--secondary a") if link.text == "Resolution").click()
    assert browser.current_url.endswith("families.html#resolution")


def test_a_phone_has_a_menu(browser, served):
    visit(browser, f"{served}/index.html", 390)
    menu = "label.md-header__button[for=__drawer]"
    assert not any(link.is_displayed() and link.rect["x"] >= 0 for link in find(browser, ".md-sidebar--primary a"))
    find(browser, menu)[0].click()
    browser.execute_script("document.querySelector('.md-sidebar--primary').style.transition = 'none'")
    links = [link for link in find(browser, ".md-sidebar--primary label.md-nav__link") if link.is_displayed()]
    assert {"Zoo", "Search", "Methods", "API"} <= {link.text for link in links} | {
        link.text for link in find(browser, ".md-sidebar--primary a") if link.is_displayed()
    }


def test_the_search_finds_a_name_of_the_reference(browser, served):
    from selenium.webdriver.support.ui import WebDriverWait

    visit(browser, f"{served}/index.html", 1280)
    find(browser, ".md-search__input")[0].send_keys("uniform rescaling")
    results = ".md-search-result__item a"
    found = WebDriverWait(browser, 20).until(lambda _: [link.get_attribute("href") for link in find(browser, results)])
    assert any("docs/methods/uniform.html" in url for url in found)
