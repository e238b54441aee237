"""What MkDocs is told of the repository: its pages are the site's, where they are, so that its links hold in both.

A link to a folder goes to the folder's list of pages, and one to a file that is no page to that file. Notebooks are
shown with the outputs that they have.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "benchmarks/results/**/*.md",
    "benchmarks/results/**/*.png",
    "model_cards/*.md",
    "search/autobss_search/*/*.md",
)
"""What is shown of the repository beside docs/."""

LISTS = {
    "model_cards": "Model cards\n\nA card for each network of the papers and each that was trained here.",
    "benchmarks/results": "All tables\n\nBy the scripts of the same names in `benchmarks/`.",
}
"""Folders of which FOLDER.md lists the pages: its title and first line."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```python module$", re.MULTILINE)
_PARTS = re.compile(r"^(## |::: )", re.MULTILINE)
_NAME = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)  # of pandas' tables, which get the site's looks
_TABLE = re.compile(r"<table[^>]*>")
_TEXT = ("text/html", "text/markdown", "text/plain")
_LINE = re.compile(r"^# (.*)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Call every file by its path in the repository, and add those that are not in docs/."""
    shown = []
    for file in files:
        if file.src_dir == config.docs_dir:
            uri, source = f"docs/{file.src_uri}", str(file.abs_src_path)
            shown.append(File.generated(config, uri, abs_src_path=source, inclusion=file.inclusion))
        else:
            shown.append(file)  # the theme's
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            shown.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        shown += _notebook(path, config)
    for folder, head in LISTS.items():
        pages = sorted(file.src_uri for file in shown if file.src_uri.startswith(f"{folder}/") and _is_page(file))
        lines = (f"- [{_title(ROOT / page)}]({posixpath.relpath(page, posixpath.dirname(folder))})" for page in pages)
        content = f"# {head}\n\n" + "\n".join(lines) + "\n"
        shown.append(File.generated(config, f"{folder}.md", content=content))
    return Files(shown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to folders to their lists, drop those to what the site has not, and link the zoo's names to cards.

    A page of a table alone gets the whole width.
    """
    here = posixpath.dirname(page.file.src_uri)
    if not _PARTS.search(markdown):
        page.meta["hide"] = ["toc"]

    def turned(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        for candidate in (path, f"{path}.md"):
            if files.get_file_from_path(candidate):
                return f"{picture}[{text}]({posixpath.relpath(candidate, here or '.')}{anchor or ''})"
        if not (ROOT / path).exists():
            return match[0]  # of which MkDocs warns
        return f"`{path}`" if text == path else f"{text} (`{path}`)"

    def with_card(match: re.Match[str]) -> str:
        card = f"model_cards/{match[1]}.md"
        known = files.get_file_from_path(card)
        return f"| [`{match[1]}`]({posixpath.relpath(card, here or '.')}) |" if known else match[0]

    return _NAME.sub(with_card, _LINK.sub(turned, _FENCE.sub("```python", markdown)))


def _is_page(file: File) -> bool:
    return file.src_uri.endswith(".md")


def _title(path: Path) -> str:
    """A page's heading; its name where it has none."""
    heading = _LINE.search(path.read_text(encoding="utf-8"))
    return heading[1] if heading else path.stem.replace("_", " ").capitalize()


def _notebook(path: Path, config: MkDocsConfig) -> list[File]:
    """A notebook as a page of Markdown, and the pictures among its outputs."""
    name, parts = f"examples/{path.name}", []
    pictures: list[File] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                uri = f"examples/{path.stem}_{len(pictures)}.png"
                pictures.append(File.generated(config, uri, content=base64.b64decode(picture)))
                parts.append(f"![What the cell draws]({posixpath.basename(uri)})")
            else:
                parts.append(_text(output))
    page = File.generated(config, f"{name.removesuffix('.ipynb')}.md", content="\n\n".join(parts) + "\n")
    raw = File.generated(config, name, abs_src_path=str(path))
    return [page, raw, *pictures]


def _text(output: dict[str, Any]) -> str:
    """An output of a cell as Markdown."""
    data = {"text/plain": output["text"]} if "text" in output else output["data"]
    kind = next(kind for kind in _TEXT if kind in data)
    text = "".join(data[kind])
    if kind == "text/plain":
        return f"```{{ .text .output }}\n{text.rstrip()}\n```"
    return _TABLE.sub("<table>", _STYLE.sub("", text))
