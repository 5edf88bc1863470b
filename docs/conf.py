"""Sphinx configuration: Markdown pages, notebooks run at build time, warnings are errors."""

from gridrl import __version__

project = "gridrl"
author = "the gridrl authors"
copyright = "the gridrl authors, Apache-2.0"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "jupyter_execute"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are Markdown files with code cells; each is run anew, and an error in one fails the
# build. First-time compilation announces itself on stderr, which is no part of a page.
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
default_role = "code"
add_module_names = False

html_theme = "furo"
html_title = f"gridrl {version}"
html_theme_options = {"navigation_with_keys": True}
