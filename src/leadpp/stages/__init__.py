"""The steps of the pipeline, one file each; they meet in files."""
