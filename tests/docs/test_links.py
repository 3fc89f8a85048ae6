"""Links between the project's pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"))


def targets(page: Path) -> list[tuple[Path, str]]:
    """File and anchor of every relative link of a page."""
    links = [link for link in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]
    return [((page.parent / link.partition("#")[0]) if link[0] != "#" else page, link.partition("#")[2]) for link in links]


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link: lower case, spaces as hyphens, no punctuation."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page: Path) -> None:
    assert [str(target) for target, _ in targets(page) if not target.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_anchors_are_headings(page: Path) -> None:
    found = [(target, anchor) for target, anchor in targets(page) if anchor and target.suffix == ".md"]
    assert [f"{name(target)}#{anchor}" for target, anchor in found if anchor not in anchors(target)] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "index.md", DOCS / "experiments" / "README.md")  # the reports are listed in their own
    listed = {target.resolve() for page in contents for target, _ in targets(page)}
    pages = {page.resolve() for page in DOCS.rglob("*") if page.suffix in (".md", ".py")}
    assert pages - listed == {(DOCS / "index.md").resolve()}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_in_the_text_exist(page: Path) -> None:
    """In back quotes, and in a folder of the repository."""
    named = re.findall(r"`((?:pellucid|docs|tests|recipes|benchmarks|scripts)/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
