"""``python -m rd_utils.lessons`` writes the readers' notebooks."""

from rd_utils.lessons.readers import main

main()
