"""A network's layers, and the tuning tasks that AutoTVM makes of them."""
