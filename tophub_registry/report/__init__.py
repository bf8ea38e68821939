"""How tuning went, read from its logs, and drawn as a page. The page needs the extra [report]."""
