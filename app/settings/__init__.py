"""Settings: read from `conf/`, checked, and handed on as frozen dataclasses."""
