"""Role rules, role bindings and inheritance under a Casbin model, as a keyed index."""
