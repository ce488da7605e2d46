"""Every fault on a running gateway under light load: what its clients see, and how soon it is well again."""
