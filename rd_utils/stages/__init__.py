"""The stages: one module each, found by :func:`rd_utils.stage.stages`."""
