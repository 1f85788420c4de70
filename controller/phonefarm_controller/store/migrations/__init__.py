"""Alembic's migrations; expand in one release, contract in a later one."""
