"""
Functions, policies, rights and triggers: declared once, and compared with what a database has.

Not migrations, since each is brought to its newest form as a whole, at the end of every upgrade, as the protocol is.
"""
