"""Ranking distillation studies: which negatives, which teacher, which loss, and was it worth the cost?

The modules follow the flow of the data: ``params`` and ``plan`` (what to run), ``store`` and ``pipeline`` (what exists and how it is made),
``synthetic``, ``collections``, ``retrieval``, ``sampling``, ``teachers``, ``models``, ``losses``, ``training``, ``evaluation``, ``stats``
and ``report``. Importing the package imports none of them.
"""

import warnings

# Libraries that are imported in a notebook look for widgets that this package does not need.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.6.0"
