"""MLflow: records are written beside the run first and delivered from there."""
