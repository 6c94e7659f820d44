"""How artefacts, notebooks and studies are made, followed, and made again."""
