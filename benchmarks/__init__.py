"""How fast, how soon, at what cost: one question a file, asked with the same definitions of our node and of its neighbours."""
