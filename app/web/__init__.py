"""The register as a service: a REST API and web pages."""
