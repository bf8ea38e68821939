"""A maintainer's side of a registry: releases, imports, yanking."""
