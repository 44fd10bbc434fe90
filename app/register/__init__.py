"""The register of a site: whose vehicle is this?"""
