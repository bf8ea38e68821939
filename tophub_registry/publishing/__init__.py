"""A maintainer's side of a registry: releases, imports, what is yanked."""
