"""The database that the worker serves: models, migrations, the queue's protocol and the queries."""
