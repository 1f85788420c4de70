"""The database: tables, reads and writes with a purpose. Only here is SQLAlchemy known."""
