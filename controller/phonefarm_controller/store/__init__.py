"""The database: tables, and reads and writes with a purpose. The only package that knows SQLAlchemy."""
