"""Signed policies: the head that names and signs a tenant's policies, and the bodies that it names."""
