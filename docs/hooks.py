"""Hooks for mkdocs, which builds the pages in docs/: see ``hooks`` in mkdocs.yml.

Pages link to one another, to files at the top of the repository and to results by their places in
the repository, so that the links also work there. On the site, the top of the repository and docs/
are one folder, and the links are rewritten accordingly.
"""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]

#: files of the repository that pages link to, apart from the README, which is the first page
ADDED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "examples/serve/[!_]*",
    "recipes/hydra/*.yaml",
    "recipes/results/**/*.md",
    "recipes/results/**/*.png",
)

#: an element that a browser would fetch from the network
FETCHED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//""")


def on_files(files, config):
    """Add the files at the top of the repository and the results."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    for pattern in ADDED:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite the links."""
    depth = page.file.src_uri.count("/")
    markdown = markdown.replace("](docs/", "](")
    markdown = markdown.replace("](" + "../" * (depth + 1), "](" + "../" * depth)
    markdown = markdown.replace("](README.md", "](index.md")
    return markdown


def on_post_page(output, page, config):
    """Refuse a page that could not be read without a network."""
    if found := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} fetches from the network: {found[0]}")
    return output
