"""Whose tasks they are on the local servers, where nobody else is named."""

from uuid import UUID

ID = UUID("de300000-0000-4000-8000-000000000001")
EMAIL = "demo@codingit.invalid"
