"""The stages: one module each, found by :func:`rd_utils.study.stage.stages`."""
