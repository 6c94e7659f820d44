"""What Sphinx is told. Its source is the whole repository, so that links are the same there and on the site.

``docs.website`` does the rest.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import website  # noqa: E402
from rd_utils import __version__  # noqa: E402

project = "Ranking distillation notebooks"
author = "the maintainers of the ranking distillation notebooks"
copyright = author
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "docs/**.rst", "notebooks/**.ipynb", "benchmarks/README.md", "outputs/README.md"]
exclude_patterns = [".*", "outputs/*/**", "build", "tests", "params", "rd_utils", "locks", "collections", "**/.ipynb_checkpoints"]
suppress_warnings = [
    "myst.header",
    "misc.highlighting_failure",
    "ref.python",
]  # skipped levels; output that is no Python; types of one name

nb_execution_mode = "off"  # notebooks are committed executed
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 5  # as on GitHub
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["style"]
html_css_files = ["site.css"]
html_search_scorer = "docs/style/scorer.js"
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system says
html_theme_options = {
    "logo": {"text": "Ranking distillation"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app):
    """Have pages read, and the site's own files written, by ``docs.website``."""
    website.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
