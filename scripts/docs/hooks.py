"""Pages of the site that are made while it is built (mkdocs hooks): nothing of these is committed."""
