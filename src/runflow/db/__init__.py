"""PostgreSQL: connections by role, tenant transactions, migrations, notifications, the embedded server."""
